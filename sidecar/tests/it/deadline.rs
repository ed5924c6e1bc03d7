//! A caller's time: shrinks hop by hop, ends a call wherever it is, and is nobody's to extend.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use kit::{Body, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::{
    harness::{Mesh, Reply, answer, app, call, call_with, echo, eventually, message, probe, request},
    scripted::{Scripted, Step},
};

fn left(headers: &HeaderMap) -> Duration {
    timeout::parse(headers[timeout::HEADER].to_str().unwrap()).unwrap()
}

async fn call_within(link: &kit::link::Link, path: &str, time: &str) -> Reply {
    call_with(link, request(path, &[(timeout::HEADER, time)], Full::new(message("x")))).await
}

#[tokio::test]
async fn the_time_that_is_left_shrinks_over_two_hops() {
    let mesh = Mesh::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let last = seen.clone();
    mesh.serve(
        "probe",
        app(move |request| {
            last.lock().unwrap().push(left(request.headers()));
            async { answer(message("done")) }
        }),
    )
    .await;
    let (onward, first) = (mesh.link("middle").await, seen.clone());
    mesh.serve(
        "middle",
        app(move |incoming: Request<Body>| {
            let (onward, time) = (onward.clone(), left(incoming.headers()));
            first.lock().unwrap().push(time);
            async move {
                let spent = Duration::from_millis(30);
                let began = Instant::now();
                while began.elapsed() < spent {
                    tokio::task::yield_now().await;
                }
                let next =
                    request(&probe("Pay"), &[(timeout::HEADER, &timeout::format(time - spent))], incoming.into_body());
                onward.oneshot(next).await.unwrap()
            }
        }),
    )
    .await;
    let reply = call_within(&mesh.link("order").await, "/agora.middle.v1.MiddleService/Forward", "5S").await;
    assert_eq!(reply.body, message("done"));
    let seen = seen.lock().unwrap();
    let [first, second] = seen[..] else { panic!("{seen:?}") };
    assert!(first < Duration::from_secs(5) && first > Duration::from_secs(3), "{first:?}");
    assert!(second < first - Duration::from_millis(30) && second > Duration::from_secs(3), "{second:?}");
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over_and_the_application_is_told() {
    let mesh = Mesh::new();
    let alive = Arc::new(());
    let held = alive.clone();
    mesh.serve(
        "probe",
        app(move |_| {
            let held = held.clone();
            async move {
                let _held = held;
                std::future::pending().await
            }
        }),
    )
    .await;
    let link = mesh.link("order").await;
    let by_caller = call_within(&link, &probe("Pay"), "50m").await;
    let by_policy = call_within(&link, &probe("Brief"), "10S").await;
    for reply in [by_caller, by_policy] {
        let details = reply.status.get_error_details();
        assert_eq!(reply.code(), Code::DeadlineExceeded);
        assert_eq!(details.error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    }
    // One is ours, one the application's own; every call's has been dropped with its call.
    eventually("the calls are cancelled", || Arc::strong_count(&alive) == 2).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_call() {
    let mesh = Mesh::new();
    let alive = Arc::new(());
    let held = alive.clone();
    mesh.serve(
        "probe",
        app(move |_| {
            let held = held.clone();
            async move {
                let _held = held;
                std::future::pending().await
            }
        }),
    )
    .await;
    let link = mesh.link("order").await;
    let caller = tokio::spawn(async move { call(&link, &probe("Pay")).await.code() });
    eventually("the call arrives", || Arc::strong_count(&alive) == 3).await;
    caller.abort();
    eventually("the call is cancelled", || Arc::strong_count(&alive) == 2).await;
}

#[tokio::test]
async fn a_stream_ends_when_its_time_is_over_even_in_the_middle() {
    let mesh = Mesh::new();
    mesh.serve(
        "probe",
        app(|_| async {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Result<http_body::Frame<Bytes>, Status>>(1);
            tokio::spawn(async move {
                let _ = sender.send(Ok(http_body::Frame::data(message("one")))).await;
                sender.closed().await;
            });
            let frames = futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|frame| (frame, receiver))
            });
            http::Response::new(Body::new(StreamBody::new(frames)))
        }),
    )
    .await;
    let reply = call_within(&mesh.link("order").await, &probe("Watch"), "100m").await;
    assert_eq!((reply.code(), reply.body), (Code::DeadlineExceeded, message("one")));
}

#[tokio::test]
async fn repeats_do_not_outlive_the_caller() {
    let mesh = Mesh::new();
    let peer = Scripted::start(&mesh, "probe", &[Step::UnavailableAtOnce]).await;
    let reply = call_within(&mesh.link("order").await, &probe("Read"), "1n").await;
    assert_eq!((reply.code(), peer.executed()), (Code::DeadlineExceeded, 0));
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    let link = mesh.link("order").await;
    for wrong in ["", "1", "soon", "123456789S", "-1S"] {
        assert_eq!(call_within(&link, &probe("Pay"), wrong).await.code(), Code::InvalidArgument, "{wrong}");
    }
    let body = link.oneshot(request(&probe("Pay"), &[(timeout::HEADER, "99999999H")], Full::new(message("x"))));
    assert_eq!(body.await.unwrap().into_body().collect().await.unwrap().to_bytes(), message("x"));
}
