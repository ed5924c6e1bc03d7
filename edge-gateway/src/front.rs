//! One listener's requests, REST and gRPC, from the first byte to the last. The order is the point:
//!
//! 1. clean the headers: nothing that a client says of identity gets past here
//! 2. trace and request id, so that every refusal below can be found
//! 3. match the RPC: everything after is decided on it, never on the raw path
//! 4. authenticate, authorise, count, set the deadline: all before a byte of the body is read
//! 5. read the body within its limit, turn it into the RPC's bytes, check these against the contract
//! 6. call the service and answer

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use kit::{
    Body,
    auth::Verifier,
    contract::{Contract, Method},
    health::Health,
    link::Link,
    telemetry,
    trace::{self, TraceContext},
};
use tokio::sync::watch;
use tonic::{Code, Status, service::Routes};
use tracing::{Instrument, Span};

use crate::{
    admit::Door,
    binding::Binding,
    config::Config,
    errors::{Errors, Telling},
    etag, grpc,
    json::Codec,
    pages::Pages,
    router::Router,
    upstream::Upstream,
};

/// Headers that say who somebody is or whence a call came: only the mesh may state them.
const OURS: [&str; 4] = [kit::link::XFCC, "forwarded", "x-real-ip", "idempotency-replayed"];
const OUR_PREFIXES: [&str; 4] = ["grpc-metadata-", "x-forwarded-", "x-envoy-", "x-agora-"];
/// Headers of one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer"];

/// The header that names one request.
const REQUEST_ID: &str = "x-request-id";
/// The header of a response that names its trace.
const TRACE_ID: &str = "x-trace-id";

/// The edge gateway.
#[derive(Clone)]
pub struct Edge(pub(crate) Arc<Inner>);

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Routes of the contract are ambiguous, unreachable or do not fit their RPC.
    #[error("the routes of the contract cannot be served:\n{}", .0.join("\n"))]
    Routes(Vec<String>),
    /// The descriptors cannot be served.
    #[error(transparent)]
    Descriptors(#[from] kit::Error),
}

pub(crate) struct Inner {
    pub contract: Arc<Contract>,
    pub router: Router<Arc<Binding>>,
    pub codec: Arc<Codec>,
    pub errors: Arc<Errors>,
    pub door: Door,
    pub upstream: Upstream,
    pub introspection: Routes,
    pub health: Health,
    pub pages: Pages,
    pub config: Config,
    pub draining: watch::Sender<bool>,
}

impl Edge {
    /// What the edge says of the health of all services: serving, until someone says otherwise.
    pub fn health(&self) -> Health {
        self.0.health.clone()
    }

    /// An edge for every route and RPC of `contract`, which calls the services by way of `upstream`.
    ///
    /// # Errors
    /// Every route that cannot be served.
    pub fn new(contract: Arc<Contract>, upstream: Link, verifier: Verifier, config: Config) -> Result<Edge, EdgeError> {
        let codec = Arc::new(Codec::new(contract.pool()));
        let router = crate::routes::build(&contract, &codec).map_err(EdgeError::Routes)?;
        let (introspection, health) = grpc::introspection(&contract)?;
        Ok(Edge(Arc::new(Inner {
            door: Door::new(&contract, verifier, &config),
            errors: Arc::new(Errors::new(contract.clone(), codec.clone())),
            upstream: Upstream::new(upstream, config.reply_max),
            introspection,
            health,
            pages: Pages::new(&contract, &router, &config.pages),
            draining: watch::Sender::new(false),
            contract,
            router,
            codec,
            config,
        })))
    }

    /// Answers one request of the client at `client`.
    pub async fn answer(&self, mut request: Request<Body>, client: IpAddr) -> Response<Body> {
        let inner = &self.0;
        let is_grpc = grpc::is_grpc(request.headers());
        let intake = Intake::new(&mut request, client);
        if !is_grpc && let Some(page) = inner.pages.answer(&request) {
            return page;
        }
        let span = intake.span.clone();
        let started = Instant::now();
        let mut response = async {
            let answer = if is_grpc { inner.grpc(request, &intake).await } else { inner.rest(request, &intake).await };
            answer.unwrap_or_else(|status| inner.refuse(status, &intake, is_grpc))
        }
        .instrument(span.clone())
        .await;
        intake.finish(&mut response);
        span.in_scope(|| {
            tracing::debug!(
                status = response.status().as_u16(),
                duration_us = started.elapsed().as_micros(),
                "answered"
            );
        });
        if let Some(method) = intake.method.get() {
            let raised = response.extensions_mut().remove::<Code>();
            let code = raised.or_else(|| Some(Status::from_header_map(response.headers())?.code())).unwrap_or(Code::Ok);
            telemetry::metrics().server_call(&method.path, code, started.elapsed());
        }
        response
    }
}

impl Inner {
    fn refuse(&self, status: Status, intake: &Intake, is_grpc: bool) -> Response<Body> {
        let code = status.code();
        let mut response = if is_grpc {
            status.into_http()
        } else {
            self.errors.response(status, &intake.telling(intake.method.get()))
        };
        response.extensions_mut().insert(code);
        response
    }
}

/// What is known of a request before it is matched, and the RPC once it is.
pub(crate) struct Intake {
    pub trace: TraceContext,
    pub client: IpAddr,
    request_id: HeaderValue,
    telling: Telling,
    method: OnceLock<Arc<Method>>,
    span: Span,
}

impl Intake {
    fn new(request: &mut Request<Body>, client: IpAddr) -> Intake {
        clean(request.headers_mut());
        let headers = request.headers();
        let parent = headers.get(trace::HEADER).and_then(|value| TraceContext::parse(value.to_str().ok()?));
        let (span, trace) = telemetry::server_span("edge", parent);
        let own = || HeaderValue::from_str(&trace.id()).unwrap_or(HeaderValue::from_static("0"));
        let is_sane = |value: &&HeaderValue| value.len() <= 128 && value.to_str().is_ok_and(|text| !text.is_empty());
        let request_id = headers.get(REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(own);
        let telling = Telling {
            problem_json: Telling::wants_problem_json(headers),
            trace: trace.id(),
            path: request.uri().path().to_owned(),
            domain: String::new(),
            conditional: etag::is_named(headers),
        };
        Intake { trace, client, request_id, telling, method: OnceLock::new(), span }
    }

    /// Notes the RPC that the request means.
    pub fn matched(&self, method: &Arc<Method>) {
        let _ = self.method.set(method.clone());
        self.span.record("otel.name", method.path.as_str());
    }

    /// How errors are told to this client.
    pub fn telling(&self, method: Option<&Arc<Method>>) -> Telling {
        let domain = method.map(|method| format!("{}.agora", method.context)).unwrap_or_default();
        Telling { domain, ..self.telling.clone() }
    }

    /// States to the services what the edge knows.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.request_id.clone());
        if let Ok(client) = HeaderValue::from_str(&self.client.to_string()) {
            headers.insert("x-forwarded-for", client);
        }
    }

    fn finish(&self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.request_id.clone());
        if let Ok(trace) = HeaderValue::from_str(&self.telling.trace) {
            headers.insert(TRACE_ID, trace);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
}

/// Takes out what clients may not state, in every spelling that HTTP lets through.
fn clean(headers: &mut HeaderMap) {
    let listed = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<String> =
        listed.flat_map(|value| value.split(',')).map(|name| name.trim().to_lowercase()).collect();
    let is_ours = |name: &str| {
        // An underscore becomes a hyphen in many servers behind.
        let name = name.replace('_', "-");
        let plain = name.strip_suffix("-bin").unwrap_or(&name);
        OURS.contains(&plain)
            || HOP_BY_HOP.contains(&plain)
            || OUR_PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
    };
    let names: Vec<_> = headers.keys().cloned().collect();
    for name in names {
        let is_listed = listed.iter().any(|listed| listed == name.as_str()) && name != header::TE;
        if is_listed || is_ours(name.as_str()) {
            headers.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_of_a_client_speaks_of_identity() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-forwarded-client-cert",
            "X-Forwarded-Client-Cert",
            "x_forwarded_client_cert",
            "x-forwarded-client-cert-bin",
            "x-forwarded-for",
            "x-real-ip",
            "grpc-metadata-x-user-id",
            "Grpc-Metadata-Authorization",
            "x-agora-user",
            "x-envoy-peer-metadata",
            "forwarded",
            "connection",
            "x-custom",
        ] {
            let name: header::HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_static("x-custom"));
        }
        headers.insert("accept", HeaderValue::from_static("*/*"));
        clean(&mut headers);
        assert_eq!(headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["accept"]);
    }
}
