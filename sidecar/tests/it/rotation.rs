//! Certificates that live for seconds, under continuous calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use kit::link::Link;
use tonic::Code;

use crate::harness::{Mesh, call, echo, eventually, probe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_certificates_fails_no_call() {
    let mesh = Mesh::with_lifetime(Duration::from_secs(3));
    let server = mesh.sidecar("probe").await;
    let running = server.serve(echo(), mesh.draining.clone()).await.unwrap();
    mesh.add("probe", running.address().to_string());
    let identity = mesh.identity("order").await;
    let client = sidecar::Sidecar::new(mesh.config(), identity.clone(), crate::harness::contract()).unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let callers: Vec<_> =
        (0..4).map(|_| tokio::spawn(keep_calling(client.outbound().link(), stop.clone(), calls.clone()))).collect();
    eventually("the certificate is renewed three times", || identity.renewals() >= 3).await;
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(Ordering::SeqCst) > 100);
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    mesh.metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("mesh_outbound_requests_total{source=\"order\",destination=\"probe\"}"), "{text}");
    assert!(text.contains("mesh_certificate_expiry_timestamp_seconds{workload=\"probe\"}"), "{text}");
}

async fn keep_calling(link: Link, stop: Arc<AtomicBool>, calls: Arc<AtomicU32>) {
    while !stop.load(Ordering::SeqCst) {
        let reply = call(&link, &probe("Pay")).await;
        assert_eq!(reply.code(), Code::Ok, "{:?}", reply.status);
        calls.fetch_add(1, Ordering::SeqCst);
    }
}
