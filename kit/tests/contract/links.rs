//! What a link adds to a call, and what it notes of it.

use std::time::Duration;

use kit::{Body, Call, call, link::Link, telemetry};
use tonic::Status;
use tower::ServiceExt;

use crate::house::{frame, house, request};

#[tokio::test]
async fn a_call_over_a_link_carries_deadline_and_trace_on_and_names_its_workload() {
    let house = house();
    let link = Link::direct(house.app.clone(), "spiffe://agora.test/ns/default/sa/order");
    let ours = Call::background("order", Duration::from_secs(5));
    call::run(ours.clone(), link.oneshot(request("Inner", &[], frame(&[])))).await.unwrap();
    let seen = house.last().unwrap();
    assert_eq!((seen.peer.workload.as_str(), seen.trace.trace_id), ("order", ours.trace.trace_id));
    assert!(seen.deadline.unwrap() <= ours.deadline.unwrap() + Duration::from_millis(100));
}

#[tokio::test]
async fn every_call_over_a_link_is_counted_once_by_its_code() {
    let house = house();
    let link = Link::new(house.app.clone());
    link.clone().oneshot(request("Mesh", &[], frame(&[]))).await.unwrap();
    link.oneshot(request("Watch", &[("x-forwarded-client-cert", &crate::house::stated("edge"))], frame(&[])))
        .await
        .unwrap();
    let gone = Link::new(tower::service_fn(async |_: http::Request<Body>| {
        Err::<http::Response<Body>, _>(Status::internal("the connection broke"))
    }));
    gone.oneshot(request("Stuck", &[], frame(&[]))).await.unwrap_err();
    let unknown = Link::url("http://127.0.0.1:1").unwrap();
    unknown.oneshot(request("Nothing", &[], frame(&[]))).await.unwrap_err();
    let text = telemetry::render();
    for (method, code) in [
        ("agora.thing.v1.Things/Mesh", "PERMISSION_DENIED"),
        ("agora.thing.v1.Things/Watch", "OK"),
        ("agora.thing.v1.Things/Stuck", "UNAVAILABLE"),
        ("_OTHER", "UNAVAILABLE"),
    ] {
        let labels = format!("rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"");
        let line = format!("rpc_client_call_duration_seconds_count{{rpc_system_name=\"grpc\",{labels}}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}
