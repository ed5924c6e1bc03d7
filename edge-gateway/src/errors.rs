//! An error as REST callers see it: the JSON of AIP-193, or `application/problem+json` (RFC 9457) where `Accept` asks for
//! it. Every error has a reason, a sentence and the trace id; details of the upstream are passed on, known type or not,
//! but for what is meant for its developers alone.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kit::{Body, contract::Contract};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::Any;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::pb;

use crate::json::Codec;

const TYPE_URL: &str = "type.googleapis.com/google.rpc.";

/// The reason of a resource that has changed since its etag was read.
pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";

/// Renders errors. Knows the details of `google.rpc` and of the contract.
pub struct Errors {
    contract: std::sync::Arc<Contract>,
    /// For details whose types the contract has; and the standard ones, in case it has them not.
    codecs: [std::sync::Arc<Codec>; 2],
}

/// How an error is to be told.
#[derive(Debug, Clone, Default)]
pub struct Telling {
    /// Whether the caller asked for `application/problem+json`.
    pub problem_json: bool,
    /// The trace id.
    pub trace: String,
    /// The path that was asked for.
    pub path: String,
    /// The domain of an upstream's error that names none.
    pub domain: String,
    /// Whether the caller named an etag in `If-Match`.
    pub conditional: bool,
}

impl Telling {
    /// Reads `Accept`.
    pub fn wants_problem_json(headers: &HeaderMap) -> bool {
        let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        accepts.flat_map(|value| value.split(',')).any(|part| part.trim().starts_with("application/problem+json"))
    }
}

/// An error taken apart.
struct Parts {
    code: Code,
    http: StatusCode,
    message: String,
    reason: String,
    details: Vec<Value>,
    retry_after: Option<Duration>,
}

impl Errors {
    /// Renders the errors of a contract.
    pub fn new(contract: std::sync::Arc<Contract>, codec: std::sync::Arc<Codec>) -> Errors {
        // The bytes are compiled into tonic-types, and decode.
        let standard = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap_or_default();
        Errors { contract, codecs: [codec, std::sync::Arc::new(Codec::new(&standard))] }
    }

    /// The whole response.
    pub fn response(&self, error: impl Into<Status>, telling: &Telling) -> Response<Body> {
        let parts = self.take_apart(&error.into(), telling);
        let body = if telling.problem_json { problem(&parts, telling) } else { aip193(&parts) };
        let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from(body.to_string() + "\n"))));
        *response.status_mut() = parts.http;
        let headers = response.headers_mut();
        let content = if telling.problem_json { "application/problem+json" } else { "application/json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if parts.http == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, challenge(&parts.reason));
        }
        if let Some(delay) = parts.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(delay)));
        }
        response
    }

    /// The AIP-193 object, for the end of a stream.
    pub fn object(&self, status: &Status, telling: &Telling) -> Value {
        aip193(&self.take_apart(status, telling))
    }

    /// Reason, status and details, whatever the error came with.
    fn take_apart(&self, status: &Status, telling: &Telling) -> Parts {
        // Each detail is read by itself: one that is malformed harms no other.
        let all = tonic_types::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
        let code = if status.code() == Code::Ok { Code::Unknown } else { status.code() };
        let is_ours = matches!(code, Code::Internal | Code::Unknown | Code::DataLoss);
        let mut details = self.details(&all);
        let reason = find::<pb::ErrorInfo>(&all, "ErrorInfo").map(|info| info.reason);
        let message = match &reason {
            // What an upstream says of its own faults is not for callers.
            None if is_ours => "Something broke on our side. Quote the trace id when you report it.".to_owned(),
            _ => status.message().to_owned(),
        };
        let reason = reason.unwrap_or_else(|| {
            let reason = code_name(code).to_owned();
            let domain = if telling.domain.is_empty() { crate::rest::EDGE } else { &telling.domain };
            let info =
                json!({"@type": format!("{TYPE_URL}ErrorInfo"), "reason": reason, "domain": domain, "metadata": {}});
            details.insert(0, info);
            reason
        });
        if find::<pb::RequestInfo>(&all, "RequestInfo").is_none() {
            let info =
                json!({"@type": format!("{TYPE_URL}RequestInfo"), "requestId": telling.trace, "servingData": ""});
            details.push(info);
        }
        let http = self.contract.reason_named(&reason).filter(|known| known.code == code);
        let http = match http {
            // Asked for by a header, it is an answer of HTTP (RFC 9110, section 13.1.1).
            Some(_) if telling.conditional && reason == ETAG_MISMATCH => Some(StatusCode::PRECONDITION_FAILED),
            known => known.and_then(|known| StatusCode::from_u16(known.http_status).ok()),
        };
        Parts {
            code,
            http: http.unwrap_or_else(|| http_status(code)),
            message,
            reason,
            details,
            retry_after: find::<pb::RetryInfo>(&all, "RetryInfo").and_then(|info| info.retry_delay?.try_into().ok()),
        }
    }

    /// Every detail as JSON. One of an unknown type, or malformed, is shown as its bytes and harms no other.
    fn details(&self, details: &[Any]) -> Vec<Value> {
        let shown = details.iter().filter(|detail| !detail.type_url.ends_with("/google.rpc.DebugInfo"));
        shown.map(|detail| self.detail(&detail.type_url, &detail.value)).collect()
    }

    fn detail(&self, url: &str, value: &[u8]) -> Value {
        let name = url.rsplit('/').next().unwrap_or_default();
        let decoded = self.codecs.iter().find_map(|codec| {
            let json = codec.to_json(codec.message(name)?, value).ok()?;
            serde_json::from_slice::<Value>(&json).ok()
        });
        match decoded {
            Some(Value::Object(fields)) => {
                let mut object = serde_json::Map::new();
                object.insert("@type".to_owned(), url.into());
                object.extend(fields);
                Value::Object(object)
            }
            Some(value) => json!({"@type": url, "value": value}),
            None => {
                use base64::Engine;
                json!({"@type": url, "value": base64::engine::general_purpose::STANDARD.encode(value)})
            }
        }
    }
}

/// The first detail of a type of `google.rpc` that can be read.
fn find<M: Message + Default>(details: &[Any], name: &str) -> Option<M> {
    let mut found = details.iter().filter(|detail| detail.type_url.strip_prefix(TYPE_URL) == Some(name));
    found.find_map(|detail| M::decode(detail.value.as_slice()).ok())
}

fn aip193(parts: &Parts) -> Value {
    json!({"error": {
        "code": parts.http.as_u16(),
        "message": parts.message,
        "status": code_name(parts.code),
        "details": parts.details,
    }})
}

fn problem(parts: &Parts, telling: &Telling) -> Value {
    let find = |name: &str| parts.details.iter().find(|detail| detail["@type"] == format!("{TYPE_URL}{name}"));
    let mut object = json!({
        "type": format!("/docs#{}", parts.reason),
        "title": parts.reason,
        "status": parts.http.as_u16(),
        "detail": parts.message,
        "instance": telling.path,
        "reason": parts.reason,
        "domain": find("ErrorInfo").map_or(Value::Null, |info| info["domain"].clone()),
        "metadata": find("ErrorInfo").map_or(Value::Null, |info| info["metadata"].clone()),
        "traceId": telling.trace,
    });
    if let Some(request) = find("BadRequest") {
        object["errors"] = request["fieldViolations"].clone();
    }
    object
}

fn challenge(reason: &str) -> HeaderValue {
    HeaderValue::from_static(match reason {
        "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED" => "Bearer realm=\"agora\", error=\"invalid_token\"",
        _ => "Bearer realm=\"agora\"",
    })
}

/// Whole seconds, rounded up, and at least one: `Retry-After` knows no fractions.
pub fn seconds_up(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

/// The HTTP status of a code, as `google/rpc/code.proto` has it.
pub fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unauthenticated => 401,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The name of a code, `NOT_FOUND`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
