//! What the edge answers itself: how it is, what it measures, what there is to call.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use http_body_util::Full;
use kit::{
    Body,
    contract::{Access, Contract, HttpBinding, Method},
};

use crate::{binding::Binding, config, docs, openapi, router::Router};

/// The paths of these pages.
pub const PATHS: [&str; 7] =
    ["/", "/docs", "/openapi.json", "/.well-known/jwks.json", "/healthz", "/readyz", "/metrics"];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// The pages, made once where they do not change.
pub struct Pages {
    front: Bytes,
    docs: Bytes,
    openapi: Bytes,
    live: config::Pages,
}

impl Pages {
    /// The pages for a contract.
    pub fn new(contract: &Contract, router: &Router<Arc<Binding>>, config: &config::Pages) -> Pages {
        let routes: Vec<_> = router.routes().collect();
        let openapi = openapi::document(contract, &routes, config);
        Pages {
            front: front(contract, config).into(),
            docs: docs::page(&openapi).into(),
            openapi: openapi.to_string().into(),
            live: config.clone(),
        }
    }

    /// The page that a request asks for, if it asks for one.
    pub fn answer(&self, request: &Request<Body>) -> Option<Response<Body>> {
        if !matches!(*request.method(), Verb::GET | Verb::HEAD) {
            return None;
        }
        let fixed = |bytes: &Bytes| bytes.clone();
        let (content, body) = match request.uri().path() {
            "/" => (TEXT, fixed(&self.front)),
            "/docs" => (HTML, fixed(&self.docs)),
            "/openapi.json" => (JSON, fixed(&self.openapi)),
            "/.well-known/jwks.json" => (JSON, (self.live.jwks)().into()),
            "/healthz" => (TEXT, Bytes::from_static(b"ok\n")),
            "/readyz" => return Some(self.ready()),
            "/metrics" => (kit::telemetry::CONTENT_TYPE, (self.live.metrics)().into()),
            _ => return None,
        };
        Some(page(StatusCode::OK, content, body))
    }

    fn ready(&self) -> Response<Body> {
        match (self.live.not_ready)() {
            None => page(StatusCode::OK, TEXT, Bytes::from_static(b"ready\n")),
            Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n").into()),
        }
    }
}

fn page(status: StatusCode, content: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The page that greets whoever asks for `/`.
fn front(contract: &Contract, config: &config::Pages) -> String {
    let mut text = format!("{} {}\n", config.title, config.version);
    if !config.description.is_empty() {
        text += &format!("{}\n", config.description);
    }
    if !config.welcome.is_empty() {
        text += &format!("\n{}\n", config.welcome.trim_end());
    }
    text += "\n  /docs           every call, to read\n  /openapi.json   the same for programs (OpenAPI 3.1)\n";
    text += "  /healthz /readyz /metrics /.well-known/jwks.json\n";
    text += "  gRPC on this very port, with reflection: grpcurl -plaintext <host:port> list\n\nCalls:\n";
    let mut calls: Vec<(String, String)> = contract.methods().flat_map(|method| lines(method)).collect();
    calls.sort();
    for (_, line) in calls {
        text += &line;
    }
    text
}

/// A line for each route of an RPC, with its path to sort by.
fn lines(method: &Method) -> Vec<(String, String)> {
    let policy = &method.policy;
    let who = match policy.access {
        Access::Public => "anyone".to_owned(),
        Access::Owner => "signed in".to_owned(),
        Access::Roles => policy.roles.join(", "),
        Access::Services => "services".to_owned(),
    };
    let stream = if method.server_streaming { ", a stream" } else { "" };
    let line = |http: &HttpBinding| {
        let (verb, path, name) = (http.verb.as_str(), &http.path, &method.name);
        (path.clone(), format!("  {verb:<7}{path:<48} {name} ({who}{stream})\n"))
    };
    method.http.iter().map(line).collect()
}
