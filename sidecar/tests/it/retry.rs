//! A call is made again when that is safe, and only then. `executed` counts what the peer may have carried out.

use bytes::Bytes;
use http_body_util::Full;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    harness::{Mesh, call, call_with, echo, message, probe, request},
    scripted::{
        Scripted,
        Step::{
            self, Answer, Cut, Refuse, RefuseByRule, UnavailableAfterMessage, UnavailableAtOnce, UnavailableInTrailers,
        },
    },
};

#[tokio::test]
async fn a_call_is_repeated_exactly_when_it_is_safe() {
    // Pay has no idempotency level, Read has no side effects, Put is idempotent, Watch is a read with a stream of replies.
    for (method, steps, code, executed) in [
        ("Pay", &[Refuse, Answer][..], Code::Ok, 1),
        ("Pay", &[Refuse, Refuse, Answer], Code::Ok, 1),
        ("Pay", &[Refuse, Refuse, Refuse, Answer], Code::Unavailable, 0),
        ("Pay", &[Cut, Answer], Code::Unavailable, 1),
        ("Pay", &[UnavailableAtOnce, Answer], Code::Unavailable, 1),
        ("Pay", &[UnavailableInTrailers, Answer], Code::Unavailable, 1),
        ("Pay", &[UnavailableAfterMessage, Answer], Code::Unavailable, 1),
        ("Pay", &[RefuseByRule, Answer], Code::FailedPrecondition, 1),
        ("Read", &[Refuse, Answer], Code::Ok, 1),
        ("Read", &[Cut, Answer], Code::Ok, 2),
        ("Read", &[UnavailableAtOnce, Answer], Code::Ok, 2),
        ("Read", &[UnavailableInTrailers, Answer], Code::Ok, 2),
        ("Read", &[UnavailableInTrailers, UnavailableAtOnce, Answer], Code::Ok, 3),
        ("Read", &[UnavailableInTrailers], Code::Unavailable, 3),
        ("Read", &[UnavailableAfterMessage, Answer], Code::Unavailable, 1),
        ("Read", &[RefuseByRule, Answer], Code::FailedPrecondition, 1),
        ("Put", &[Cut, UnavailableInTrailers, Answer], Code::Ok, 3),
        ("Watch", &[UnavailableAtOnce, Answer], Code::Ok, 2),
        ("Watch", &[UnavailableAfterMessage, Answer], Code::Unavailable, 1),
        ("Upload", &[UnavailableAtOnce, Answer], Code::Unavailable, 1),
        ("Upload", &[Refuse, Answer], Code::Unavailable, 0),
    ] {
        let mesh = Mesh::new();
        let peer = Scripted::start(&mesh, "probe", steps).await;
        let reply = call(&mesh.link("order").await, &probe(method)).await;
        let case = format!("{method} {steps:?}: {:?}", reply.status);
        assert_eq!((reply.code(), peer.executed()), (code, executed), "{case}");
        let wants_message = code == Code::Ok || steps[0] == UnavailableAfterMessage;
        assert_eq!(reply.body, if wants_message { message("done") } else { Bytes::new() }, "{case}");
    }
}

#[tokio::test]
async fn a_request_that_a_goaway_leaves_behind_is_made_again_whatever_it_does() {
    let mesh = Mesh::new();
    let peer = Scripted::that_goes_away(&mesh, "probe").await;
    let reply = call(&mesh.link("order").await, &probe("Pay")).await;
    assert_eq!((reply.code(), peer.executed()), (Code::Ok, 1), "{:?}", reply.status);
}

#[tokio::test]
async fn a_repeated_request_has_its_whole_body_and_a_large_one_is_not_repeated() {
    let large = Bytes::from(vec![7; 200_000]);
    for (body, code, executed) in [(message("x"), Code::Ok, 2), (large, Code::Unavailable, 1)] {
        let mesh = Mesh::new();
        let peer = Scripted::start(&mesh, "probe", &[UnavailableAtOnce, Answer]).await;
        let reply = call_with(&mesh.link("order").await, request(&probe("Read"), &[], Full::new(body))).await;
        assert_eq!((reply.code(), peer.executed()), (code, executed));
    }
    let mesh = Mesh::new();
    Scripted::start(&mesh, "probe", &[Refuse]).await;
    mesh.serve("probe", echo()).await;
    let link = mesh.link("order").await;
    for _ in 0..10 {
        assert_eq!(call(&link, &probe("Pay")).await.body, message("x"));
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_costs_no_call() {
    let mesh = Mesh::new();
    mesh.add("probe", "127.0.0.1:1".into());
    mesh.serve("probe", echo()).await;
    let link = mesh.link("order").await;
    for method in ["Pay", "Read", "Upload"].into_iter().cycle().take(30) {
        assert_eq!(call(&link, &probe(method)).await.code(), Code::Ok, "{method}");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_named() {
    let mesh = Mesh::new();
    let link = mesh.link("order").await;
    let nowhere = call(&link, &probe("Pay")).await;
    mesh.add("probe", "127.0.0.1:1".into());
    let refused = call(&link, &probe("Pay")).await;
    for reply in [nowhere, refused] {
        let details = reply.status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((reply.code(), info.reason.as_str()), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
        assert_eq!(info.metadata["workload"], "probe");
        // Addresses and causes are for the log: a reply may reach a stranger.
        let told = format!("{} {:?}", reply.status.message(), info.metadata);
        assert!(!told.contains("127.0.0.1"), "{told}");
    }
}

#[tokio::test]
async fn a_destination_in_trouble_gets_a_fifth_more_calls_and_not_three_times_as_many() {
    let mesh = Mesh::new();
    let peer = Scripted::start(&mesh, "probe", &[Step::UnavailableAtOnce]).await;
    let link = mesh.link("order").await;
    for _ in 0..200 {
        assert_eq!(call(&link, &probe("Read")).await.code(), Code::Unavailable);
    }
    assert!(peer.executed() <= 200 + 10 + 40, "{}", peer.executed());
}
