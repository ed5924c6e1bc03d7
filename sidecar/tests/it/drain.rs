//! Ending in order, and the socket by which a foreign application calls.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use kit::{drain::Drain, link::Link};
use tokio::{net::TcpStream, sync::Notify};
use tonic::Code;

use crate::harness::{Mesh, PATIENCE, answer, app, call, echo, eventually, message, probe};

#[tokio::test]
async fn a_draining_workload_finishes_what_it_has_begun_and_takes_nothing_new() {
    let mesh = Mesh::new();
    let (drain, draining) = Drain::new();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (here, wait) = (arrived.clone(), go_on.clone());
    let slow = app(move |_| {
        here.notify_one();
        let wait = wait.clone();
        async move {
            wait.notified().await;
            answer(message("done"))
        }
    });
    let running = mesh.serve_until("probe", slow, draining).await;
    let address = running.address();
    let link = mesh.link("order").await;
    let caller = tokio::spawn({
        let link = link.clone();
        async move { call(&link, &probe("Pay")).await }
    });
    arrived.notified().await;
    drain.start();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it still accepts");
        tokio::task::yield_now().await;
    }
    assert_eq!(call(&link, &probe("Pay")).await.code(), Code::Unavailable);
    assert!(!caller.is_finished());
    go_on.notify_one();
    assert_eq!(caller.await.unwrap().body, message("done"));
    tokio::time::timeout(PATIENCE, running.finished()).await.unwrap();
    assert!(drain.finished(PATIENCE).await);
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let mesh = Mesh::new();
    let link = mesh.link("order").await;
    let (mut drain, draining) = Drain::new();
    mesh.serve_until("probe", echo(), draining).await;
    let calls = Arc::new(AtomicU32::new(0));
    let made = calls.clone();
    let caller = tokio::spawn(async move {
        while made.fetch_add(1, Ordering::SeqCst) < 1_000 {
            let reply = call(&link, &probe("Pay")).await;
            assert_eq!(reply.code(), Code::Ok, "{:?}", reply.status);
        }
    });
    for restart in 1..=10 {
        eventually("calls are made", || calls.load(Ordering::SeqCst) > restart * 80).await;
        let (next, draining) = Drain::new();
        let new = mesh.serve_until("probe", echo(), draining).await.address().to_string();
        mesh.endpoints.set("probe", [new]);
        drain.start();
        assert!(drain.finished(PATIENCE).await);
        drain = next;
    }
    caller.await.unwrap();
}

#[tokio::test]
async fn a_foreign_application_calls_through_a_socket_that_is_its_own() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    let sidecar = mesh.sidecar("order").await;
    let path: PathBuf = mesh.folder.path().join("order.sock");
    let listening = sidecar.outbound().listen(&path, mesh.draining.clone()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let reply = call(&Link::unix(path.clone()), &probe("ForOrder")).await;
    assert_eq!((reply.code(), reply.body), (Code::Ok, message("x")));
    mesh.drain.start();
    tokio::time::timeout(PATIENCE, listening).await.unwrap().unwrap();
    assert!(!path.exists());
}
