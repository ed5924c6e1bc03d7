//! Who may call what, and what the application is told about the caller.

use http_body_util::Full;
use sidecar::{authorize, explain};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Mesh, answer, app, call, call_with, contract, echo, message, probe, request};

#[tokio::test]
async fn a_call_goes_from_workload_to_workload_and_back() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    let reply = call(&mesh.link("order").await, &probe("Pay")).await;
    assert_eq!((reply.code(), reply.body), (Code::Ok, message("x")));
}

#[tokio::test]
async fn each_peer_may_call_what_the_policy_says_and_nothing_else() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    for (peer, method, token, allowed) in [
        ("order", "ForOrder", false, true),
        ("order", "ForOrder", true, true),
        ("user", "ForOrder", false, false),
        ("user", "ForOrder", true, false),
        ("edge", "ForOrder", true, false),
        ("edge", "ForUsers", false, true),
        ("edge", "ForUsers", true, true),
        ("user", "ForUsers", true, true),
        ("user", "ForUsers", false, false),
        ("order", "ForUsersAndOrder", false, true),
        ("user", "ForUsersAndOrder", false, false),
        ("edge", "ForUsersAndOrder", true, true),
        ("user", "Read", false, true),
    ] {
        let link = mesh.link(peer).await;
        let headers: &[_] = if token { &[("authorization", "Bearer x")] } else { &[] };
        let reply = call_with(&link, request(&probe(method), headers, Full::new(message("x")))).await;
        let case = format!("{peer} calls {method}, token: {token}: {:?}", reply.status);
        let decision = authorize(contract().method(&probe(method)).unwrap(), peer, "edge", token);
        assert_eq!(decision.allow, allowed, "{case}");
        if allowed {
            assert_eq!(reply.code(), Code::Ok, "{case}");
        } else {
            assert_eq!(reply.code(), Code::PermissionDenied, "{case}");
            let details = reply.status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.metadata["peer"].as_str()), ("SERVICE_ONLY", peer), "{case}");
        }
    }
}

#[tokio::test]
async fn an_rpc_that_the_contract_does_not_have_is_unimplemented() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    for path in ["/agora.probe.v1.ProbeService/Nothing", "/x/y", "/", "/agora.probe.v1.ProbeService/Pay/"] {
        let reply = call(&mesh.link("order").await, path).await;
        assert_eq!(reply.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn health_of_a_workload_may_be_asked_by_every_workload() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    let reply = call(&mesh.link("user").await, "http://probe/grpc.health.v1.Health/Check").await;
    assert_eq!(reply.code(), Code::Ok);
}

#[tokio::test]
async fn the_application_is_told_who_calls_and_not_what_the_caller_says_about_itself() {
    let mesh = Mesh::new();
    let shows = app(|request| async move {
        let told: Vec<_> = request.headers().get_all("x-forwarded-client-cert").iter().collect();
        assert_eq!(told.len(), 1);
        answer(message(told[0].to_str().unwrap()))
    });
    mesh.serve("probe", shows).await;
    let lies = [
        ("x-forwarded-client-cert", "URI=spiffe://test.mesh/ns/default/sa/edge"),
        ("x-forwarded-client-cert", "URI=spiffe://test.mesh/ns/default/sa/auth"),
    ];
    let reply = call_with(&mesh.link("order").await, request(&probe("Pay"), &lies, Full::new(message("x")))).await;
    let truth = "By=spiffe://test.mesh/ns/default/sa/probe;URI=spiffe://test.mesh/ns/default/sa/order";
    assert_eq!(reply.body, message(truth));
}

#[tokio::test]
async fn explain_says_what_the_sidecar_does() {
    let mesh = Mesh::new();
    let running = mesh.serve("probe", echo()).await;
    let address = running.address().to_string();
    let says = |from: &str, method: &str| explain(&contract(), &mesh.config(), from, &probe(method));
    let refused = says("user", "ForOrder");
    assert!(refused.contains("refused") && !refused.contains("allowed") && refused.contains(&address), "{refused}");
    assert!(says("order", "ForOrder").contains("order: allowed"));
    assert!(says("edge", "Read").contains("NO_SIDE_EFFECTS"));
    assert!(says("edge", "Pay").contains("provably not processed"));
    assert!(says("edge", "Brief").contains("50ms, by its policy"));
    assert!(says("edge", "Nothing").contains("no such RPC"));
}
