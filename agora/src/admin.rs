//! The page for operators of a role that has a process of its own: liveness, readiness and metrics, nothing else.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::drain::Draining;
use tokio::net::TcpListener;

/// How many operators may be connected at once.
const CONNECTIONS_MAX: usize = 32;

/// Serves `/healthz`, `/readyz` and `/metrics` on `address` until drained. Gives the address that was bound.
///
/// # Errors
/// If the address is taken.
pub async fn serve(
    address: SocketAddr,
    ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
    draining: Draining,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("the admin address {address} cannot be bound; choose another with --admin (AGORA_ADMIN)")
    })?;
    let bound = listener.local_addr()?;
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = draining.wait() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the admin page cannot accept");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
            let (ready, draining) = (ready.clone(), draining.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: Request<Incoming>| {
                    let reply = answer(request.uri().path(), ready() && !draining.is_set());
                    async { Ok::<_, Infallible>(reply) }
                });
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(5));
                // A connection that breaks concerns nobody but the one who broke it.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
                drop(permit);
            });
        }
    });
    Ok(bound)
}

fn answer(path: &str, ready: bool) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/healthz" => (StatusCode::OK, "alive\n".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        "/metrics" => (StatusCode::OK, kit::telemetry::render()),
        _ => (StatusCode::NOT_FOUND, "There are /healthz, /readyz and /metrics.\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
