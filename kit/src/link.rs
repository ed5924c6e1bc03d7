//! A way to another service, the same whether it runs in this process, behind a sidecar or at a URL. A generated client
//! speaks over it: `OrderServiceClient::new(links.to("order"))`.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use hyper_util::rt::TokioIo;
use tonic::{
    Code, Status,
    transport::{Endpoint, Uri},
};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use crate::{Body, Call, Error, telemetry, timeout, trace};

/// The header in which a sidecar names the peer (Envoy's `x-forwarded-client-cert`).
pub const XFCC: &str = "x-forwarded-client-cert";

type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// A way to another service. Adds to each call what the running [`Call`] says: deadline, trace and the user's token.
#[derive(Clone)]
pub struct Link(Inner);

impl Link {
    /// A link that hands requests to a service in this process, such as a sidecar. Its calls are counted as calls of ours:
    /// `rpc_client_call_duration`.
    pub fn new<S, E>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = E> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        E: std::fmt::Display + 'static,
    {
        let service = service.map_err(|error: E| Status::unavailable(error.to_string()));
        // Counted inside of the one box that a call needs anyway.
        Self(BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
            let (service, started) = (service.clone(), Instant::now());
            let path = request.uri().path_and_query().cloned();
            async move {
                let reply = service.oneshot(request).await;
                let path = path.as_ref().map_or("", |path| path.path());
                telemetry::metrics().client_call(path, code(&reply), started.elapsed());
                reply
            }
        })))
    }

    /// The last step of a call that was counted where it began: from a sidecar to its application in this process.
    pub fn local<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service.map_err(|never| match never {})))
    }

    /// A link to an application in this process without any hop, which states `identity`, a SPIFFE id, as the peer just
    /// as the sidecar of the application would.
    pub fn direct<S>(service: S, identity: &str) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let stated = HeaderValue::from_str(&format!("URI={identity}")).ok();
        Self::local(service.map_request(move |mut request: Request<Body>| {
            request.headers_mut().remove(XFCC);
            if let Some(peer) = &stated {
                request.headers_mut().insert(XFCC, peer.clone());
            }
            request
        }))
    }

    /// A link to a gRPC server at a URL, connected at first use.
    ///
    /// # Errors
    /// If the URL is malformed.
    pub fn url(url: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Error::named("INVALID_FIELD", format!("`{url}` is not a URL: {error}")))?;
        Ok(Self::new(endpoint.connect_lazy()))
    }

    /// A link to a gRPC server on a unix socket, connected at first use.
    pub fn unix(path: PathBuf) -> Self {
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Self::new(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector))
    }

    /// A link whose other end is named later: services that call each other are made one after the other.
    pub fn deferred() -> (Self, Slot) {
        let slot = Slot(Arc::new(OnceLock::new()));
        let inner = slot.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let link: Option<Link> = inner.get().cloned();
            async move {
                match link {
                    Some(link) => link.0.oneshot(request).await,
                    None => Err(Status::unavailable("the service is not started yet")),
                }
            }
        });
        (Self(BoxCloneSyncService::new(service)), slot)
    }
}

/// The open end of a [`Link::deferred`].
pub struct Slot(Arc<OnceLock<Link>>);

impl Slot {
    /// Names the other end. The first call wins.
    pub fn set(&self, link: Link) {
        let _ = self.0.set(link);
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(call) = Call::try_current() {
            carry_on(&call, &mut request);
        }
        self.0.call(request)
    }
}

/// The code of a reply. A success says so at its end; whatever is refused says so at once.
fn code(reply: &Result<Response<Body>, Status>) -> Code {
    match reply {
        Ok(response) => {
            response.headers().get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
        }
        Err(status) => status.code(),
    }
}

/// Adds what the running call says, unless the request says it itself.
fn carry_on(call: &Call, request: &mut Request<Body>) {
    let headers = request.headers_mut();
    let remaining = call.deadline.map(|deadline| deadline.saturating_duration_since(tokio::time::Instant::now()));
    let token = call.caller.as_ref().map(|caller| format!("Bearer {}", caller.token));
    for (name, value) in [
        (timeout::HEADER, remaining.map(timeout::format)),
        (trace::HEADER, Some(call.trace.to_header())),
        (AUTHORIZATION.as_str(), token),
    ] {
        if let Some(value) = value.and_then(|text| HeaderValue::from_str(&text).ok())
            && !headers.contains_key(name)
        {
            headers.insert(name, value);
        }
    }
}

/// The links of one service, by the name of the workload.
#[derive(Clone, Default)]
pub struct Links(HashMap<String, Link>);

impl Links {
    /// No links.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the way to a workload.
    pub fn add(mut self, workload: &str, link: Link) -> Self {
        self.0.insert(workload.to_owned(), link);
        self
    }

    /// The way to a workload. One that was never added answers that it cannot be reached.
    pub fn to(&self, workload: &str) -> Link {
        self.0.get(workload).cloned().unwrap_or_else(|| Link::deferred().0)
    }
}
