//! The layers in front of every handler, in order. They belong to the service and not to a listener, so that every way
//! in (memory, unix socket, sidecar) runs the same program.

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::Instant;
use tonic::{Status, service::Routes};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use crate::{
    Body, Error,
    auth::Verifier,
    call::{self, Call, Peer},
    contract::{Contract, Method},
    guard,
    health::Health,
    introspection, leash, link, telemetry, timeout,
    trace::{self, TraceContext},
};

/// The longest request message that a service reads, in bytes.
pub const MESSAGE_MAX: usize = 4 << 20;
/// How long a call may take whose caller does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A service of the contract behind its layers.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    workload: String,
    contract: Arc<Contract>,
    verifier: Verifier,
    routes: Routes,
    health: Health,
}

impl App {
    /// Puts the layers in front of `routes`, the handlers of `workload`. Health and reflection are added.
    ///
    /// # Errors
    /// If `descriptors` is no descriptor set.
    pub fn new(
        workload: &str,
        contract: Arc<Contract>,
        descriptors: &[u8],
        verifier: Verifier,
        routes: Routes,
    ) -> Result<Self, Error> {
        let (routes, health) = introspection::add(routes, workload, &contract, descriptors)?;
        let routes = routes.prepare();
        Ok(Self(Arc::new(Inner { workload: workload.to_owned(), contract, verifier, routes, health })))
    }

    /// The name of the workload.
    pub fn workload(&self) -> &str {
        &self.0.workload
    }

    /// What it says of its health.
    pub fn health(&self) -> Health {
        self.0.health.clone()
    }
}

impl Service<Request<Body>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        // Health and reflection are not part of the contract. Nothing else without a policy reaches a handler.
        let Some(method) = self.contract.method(request.uri().path()).cloned() else {
            if introspection::serves(request.uri().path()) {
                return self.handle(request).await;
            }
            return Status::from(Error::named("ROUTE_NOT_FOUND", "There is no such RPC.")).into_http();
        };
        // The trace comes first, so that every refusal below can be found by it.
        let parent = header(&request, trace::HEADER).and_then(TraceContext::parse);
        let (span, trace) = telemetry::server_span(&method.path, parent);
        let started = Instant::now();
        let response = self.carry_out(method.clone(), trace, request).instrument(span.clone()).await;
        let code = Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code());
        telemetry::metrics().server_call(&method.path, code, started.elapsed());
        span.in_scope(|| tracing::debug!(code = ?code, duration_us = started.elapsed().as_micros(), "answered"));
        response
    }

    async fn carry_out(&self, method: Arc<Method>, trace: TraceContext, request: Request<Body>) -> Response<Body> {
        let mut call = Call { method: Some(method.clone()), ..Call::background(&self.workload, TIMEOUT_DEFAULT) };
        call.trace = trace;
        // The deadline holds for everything that follows. A stream has none: it ends by its own age.
        let limit = header(&request, timeout::HEADER).and_then(timeout::parse);
        call.deadline = match (limit, method.server_streaming) {
            (None, true) => None,
            (limit, _) => Some(Instant::now() + limit.unwrap_or(TIMEOUT_DEFAULT)),
        };
        let deadline = call.deadline;
        let domain = call.clone();
        let work = pin!(call::run(domain, async {
            let request = self.admit(&mut call, &method, request).await?;
            let caller = call.caller.clone().filter(|_| method.server_streaming);
            let response = call::run(call, self.handle(request)).await;
            Ok::<_, Error>(match caller {
                Some(caller) => leash::hold(response, self.verifier.clone(), caller),
                None => response,
            })
        }));
        let answer = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(too_late(&method))),
            None => work.await,
        };
        answer.unwrap_or_else(|error| Status::from(error).into_http())
    }

    /// Everything that may refuse a call before its handler sees it.
    async fn admit(&self, call: &mut Call, method: &Method, request: Request<Body>) -> Result<Request<Body>, Error> {
        // Which workload: only a sidecar (or a direct link) can state it, and only they can reach us.
        // The nearest hop wrote last.
        let peer = (request.headers().get_all(link::XFCC).iter().next_back())
            .and_then(|stated| Peer::from_xfcc(stated.to_str().ok()?))
            .ok_or_else(|| Error::named("SERVICE_ONLY", "The call did not come through a sidecar of the mesh."))?;
        // Which user: believed only from a token that we verify ourselves.
        let caller = self.verifier.caller(method, header(&request, AUTHORIZATION.as_str()))?;
        // May they: decided on the matched RPC, never on a path.
        call.scope = guard::authorize(method, Some(&peer), caller.as_deref())?;
        call.peer = peer;
        call.caller = caller;
        // What they sent: checked before any handler, whoever sent it.
        if method.client_streaming { Ok(request) } else { check_body(method, request).await }
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn header<'a>(request: &'a Request<Body>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn too_late(method: &Method) -> Error {
    timeout::error(method).domain(&format!("{}.agora", method.context))
}

/// Reads the one message of a unary request and checks it on its wire bytes.
async fn check_body(method: &Method, request: Request<Body>) -> Result<Request<Body>, Error> {
    const PREFIX: usize = 5;
    let (head, body) = request.into_parts();
    let bytes = Limited::new(body, MESSAGE_MAX + PREFIX).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let message = format!("A message may have {MESSAGE_MAX} bytes.");
            Error::named("BODY_TOO_LARGE", message).with("limit", MESSAGE_MAX.to_string())
        } else {
            Error::from(Status::cancelled("the request ended early"))
        }
    })?;
    let bytes = bytes.to_bytes();
    // What is compressed could not be checked on its bytes.
    if let Some((&[0, a, b, c, d], message)) = bytes.split_first_chunk::<PREFIX>()
        && u32::from_be_bytes([a, b, c, d]) as usize == message.len()
    {
        guard::check_message(method, message)?;
    } else {
        return Err(Error::named("MALFORMED_BODY", "Send exactly one uncompressed gRPC message."));
    }
    Ok(Request::from_parts(head, Body::new(Full::new(bytes))))
}
