//! Calls are spread over the endpoints of a workload, one by one.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use kit::link::Link;
use tonic::Code;

use crate::harness::{Mesh, answer, app, call, message, probe};

/// An application that counts its calls.
fn counting() -> (Arc<AtomicU32>, Link) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let app = app(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { answer(message("done")) }
    });
    (count, app)
}

#[tokio::test]
async fn three_endpoints_share_the_calls_of_one_caller() {
    let mesh = Mesh::new();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let (count, app) = counting();
        mesh.serve("probe", app).await;
        counts.push(count);
    }
    let link = mesh.link("order").await;
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let link = link.clone();
            tokio::spawn(async move {
                for _ in 0..300 {
                    assert_eq!(call(&link, &probe("Pay")).await.code(), Code::Ok);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert_eq!(counts.iter().sum::<u32>(), 1200);
    assert!(f64::from(*most) / f64::from(*least) <= 1.5, "{counts:?}");
}

#[tokio::test]
async fn a_changed_list_of_endpoints_holds_from_the_next_call_on() {
    let mesh = Mesh::new();
    let (old, app) = counting();
    mesh.serve("probe", app).await;
    let link = mesh.link("order").await;
    call(&link, &probe("Pay")).await;
    mesh.endpoints.set("probe", []);
    let (new, app) = counting();
    mesh.serve("probe", app).await;
    for _ in 0..10 {
        assert_eq!(call(&link, &probe("Pay")).await.code(), Code::Ok);
    }
    assert_eq!((old.load(Ordering::SeqCst), new.load(Ordering::SeqCst)), (1, 10));
}
