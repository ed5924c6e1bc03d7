//! The answers that a sidecar gives by itself: a gRPC status with `google.rpc.ErrorInfo`, as every error of the platform.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use kit::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::connection::MAX_HEADERS;

/// Who says so, in `ErrorInfo.domain`.
const DOMAIN: &str = "mesh.agora";

/// A status with its reason, and who was involved.
pub(crate) fn status(code: Code, reason: &str, message: impl Into<String>, about: &[(&str, &str)]) -> Status {
    let metadata: HashMap<_, _> = about.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// The status as a reply of headers alone.
pub(crate) fn response(status: Status) -> Response<Body> {
    status.into_http()
}

/// The status as the trailers of a reply that has begun.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// The gRPC code in headers or trailers, if it is there. A malformed one is `UNKNOWN`, as gRPC has it.
pub(crate) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// A workload that is needed could not be used. Where it is and what went wrong is for the log, not for strangers.
pub(crate) fn unavailable(workload: &str, method: &str, what: &str) -> Status {
    tracing::warn!(workload, method, cause = what, "a workload cannot be used");
    status(
        Code::Unavailable,
        "DEPENDENCY_UNAVAILABLE",
        format!("`{workload}`, which is needed for this, cannot be used at this moment. Try again later."),
        &[("workload", workload), ("method", method)],
    )
}

/// The caller's time is over.
pub(crate) fn late(workload: &str, method: &str) -> Status {
    status(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        format!("Time ran out before `{workload}` answered. A repeat with the same request_id does no harm."),
        &[("workload", workload), ("method", method)],
    )
}

/// There are as many calls to a workload as its connections carry.
pub(crate) fn overloaded(workload: &str, method: &str) -> Status {
    status(
        Code::Unavailable,
        "OVERLOADED",
        format!("There are too many calls to `{workload}` at once. Try again later."),
        &[("workload", workload), ("method", method)],
    )
}

/// The peer's HTTP layer answered instead of its gRPC: the headers were too long for it, or it is broken.
pub(crate) fn not_grpc(workload: &str, method: &str, answer: StatusCode) -> Status {
    let about = [("workload", workload), ("method", method), ("http_status", answer.as_str())];
    if answer == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        let message = format!("The headers of the call are longer than the {MAX_HEADERS} bytes that are read.");
        return status(Code::ResourceExhausted, "BODY_TOO_LARGE", message, &about);
    }
    status(Code::Internal, "INTERNAL", format!("`{workload}` answered HTTP {answer} and no gRPC status."), &about)
}
