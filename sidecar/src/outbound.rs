//! The way out: the application calls any RPC of the contract, and the sidecar finds the workload, an endpoint, a
//! connection and, where it is allowed, another attempt.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kit::{Body, contract::Contract, drain::Draining, link::Link};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tonic::Code;
use tower::Service;

use crate::{
    Config, Error, call,
    connection::{CONNECTION_WINDOW, MAX_HEADERS, SEND_BUFFER, STREAM_WINDOW},
    identity::Identity,
    meters::Meters,
    reply,
    routes::Routes,
};

/// Connections of the application to its own sidecar at once.
const MAX_LOCAL_CONNECTIONS: usize = 64;
/// Calls at once on one of them.
const MAX_LOCAL_STREAMS: u32 = 2048;

/// The outbound half of a sidecar. Clones share its connections.
#[derive(Clone)]
pub struct Outbound(Arc<Routes>);

impl Outbound {
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        contract: &Contract,
        meters: &Arc<Meters>,
    ) -> Result<Self, Error> {
        Ok(Self(Arc::new(Routes::new(contract, config, identity, meters)?)))
    }

    /// The way to every other workload, for an application in this process.
    pub fn link(&self) -> Link {
        Link::new(self.clone())
    }

    /// The same for an application in another process: HTTP/2 on a unix socket that only this user may open, until the
    /// process drains.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(&self, path: &Path, draining: Draining) -> Result<JoinHandle<()>, Error> {
        let (listener, owner) = private_socket(path)?;
        let (outbound, path) = (self.clone(), path.to_owned());
        Ok(tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(MAX_LOCAL_CONNECTIONS));
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = draining.wait() => break,
                };
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                // The socket's mode keeps others out; this also holds in the moment before it has that mode.
                if stream.peer_cred().map(|peer| peer.uid()).ok() != Some(owner) {
                    tracing::warn!("another user tried to call through this sidecar");
                    continue;
                }
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let (outbound, draining) = (outbound.clone(), draining.clone());
                tokio::spawn(async move {
                    outbound.serve(stream, draining).await;
                    drop(place);
                });
            }
            let _ = fs::remove_file(path);
        }))
    }

    async fn serve(&self, stream: UnixStream, draining: Draining) {
        let service = service_fn(|request: Request<Incoming>| {
            let outbound = self.clone();
            async move { Ok::<_, Infallible>(outbound.make(request.map(Body::new)).await) }
        });
        let mut connection = std::pin::pin!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(MAX_LOCAL_STREAMS)
                .max_header_list_size(MAX_HEADERS)
                .max_send_buf_size(SEND_BUFFER)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            _ = connection.as_mut() => return,
            () = draining.wait() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    /// Makes a call, and answers in any case.
    async fn make(&self, request: Request<Body>) -> Response<Body> {
        match self.0.find(&request) {
            Some(route) => call::make(&route, request).await,
            None => {
                let path = request.uri().path();
                let message = format!("The contract has no RPC `{path}`.");
                reply::response(reply::status(Code::Unimplemented, "ROUTE_NOT_FOUND", message, &[("method", path)]))
            }
        }
    }
}

impl Service<Request<Body>> for Outbound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let outbound = self.clone();
        Box::pin(async move { Ok(outbound.make(request).await) })
    }
}

/// Binds a socket that only this user may open, in place of one that a crash left behind. Also says who this user is.
fn private_socket(path: &Path) -> Result<(UnixListener, u32), Error> {
    let failed = |error| Error::io(format!("cannot listen on {}", path.display()), error);
    // Under another name first, so that `path` never has a wider mode.
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    let listener = UnixListener::bind(&next).map_err(failed)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let owner = fs::metadata(&next).map_err(failed)?.uid();
    fs::rename(&next, path).map_err(failed)?;
    Ok((listener, owner))
}
