//! What a call answers when it does not succeed. A refusal is a value: a reason of the contract's enum, a sentence that
//! says what to do, and metadata. The contract says which code and status the reason has.

use std::{collections::HashMap, fmt, time::Duration};

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::contract;

/// The domain of an error whose context is not known.
const DOMAIN: &str = "agora";

/// A refusal or a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    reason: String,
    code: Code,
    http_status: u16,
    retryable: bool,
    message: String,
    domain: String,
    metadata: HashMap<String, String>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
}

impl Error {
    /// A refusal for a reason of the contract's enum, with a sentence for the caller.
    pub fn new(reason: impl Into<i32>, message: impl Into<String>) -> Self {
        let number = reason.into();
        let contract = contract::installed();
        match contract.reason(number) {
            Some(reason) => Self::build(reason, message.into()),
            None => Self::unknown(&format!("REASON_{number}"), message.into()),
        }
    }

    /// A refusal for a reason named by its text: for crates that do not know the enum.
    pub fn named(reason: &str, message: impl Into<String>) -> Self {
        let contract = contract::installed();
        match contract.reason_named(reason) {
            Some(reason) => Self::build(reason, message.into()),
            None => Self::unknown(reason, message.into()),
        }
    }

    /// A fault of ours. The source goes to the log, and not to the caller.
    pub fn internal(source: impl fmt::Display) -> Self {
        tracing::error!(error = %source, "a fault of ours");
        Self::named("INTERNAL", "Something broke on our side. Quote the trace id when you report it.")
    }

    fn build(reason: &contract::Reason, message: String) -> Self {
        Self(Box::new(Inner {
            reason: reason.name.clone(),
            code: reason.code,
            http_status: reason.http_status,
            retryable: reason.retryable,
            message,
            domain: crate::call::domain().unwrap_or_else(|| DOMAIN.to_owned()),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry_after: None,
        }))
    }

    /// A reason that the installed contract does not have: a foreign contract, or a test without one.
    fn unknown(reason: &str, message: String) -> Self {
        let reason = contract::Reason {
            name: reason.to_owned(),
            code: Code::Unknown,
            http_status: 500,
            retryable: false,
            description: String::new(),
        };
        Self::build(&reason, message)
    }

    /// Adds a fact that a program may read: `ErrorInfo.metadata`.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a field and what is wrong with it: `BadRequest.field_violations`.
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.violations.push((field.into(), description.into()));
        self
    }

    /// Says which field of the request is refused: in the metadata, and as a violation. A refusal of anything but what was
    /// sent, and one that names its field already, stay as they are.
    pub fn at(self, field: &str) -> Self {
        if self.0.code != Code::InvalidArgument || self.0.metadata.contains_key("field") {
            return self;
        }
        let message = self.0.message.clone();
        self.with("field", field).violation(field, message)
    }

    /// Says which amount of the request is refused: its `unit` if that is unknown or another than it should be, or else
    /// its `value`. See [`Error::at`].
    pub fn at_amount(self, field: &str) -> Self {
        let part = if self.reason() == "UNIT_MISMATCH" { "unit" } else { "value" };
        self.at(&format!("{field}.{part}"))
    }

    /// Says when to try again: `RetryInfo`.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Says which context refuses: `order.agora`. Kept if it is said already.
    pub fn domain(mut self, domain: &str) -> Self {
        if self.0.domain == DOMAIN {
            domain.clone_into(&mut self.0.domain);
        }
        self
    }

    /// The reason's text, `INSUFFICIENT_FUNDS`.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status at the edge.
    pub fn http_status(&self) -> u16 {
        self.0.http_status
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata.get(key).map(String::as_str)
    }

    /// Every fact that a program may read.
    pub fn all_metadata(&self) -> &HashMap<String, String> {
        &self.0.metadata
    }

    /// Whether repeating the very same request cannot change the answer, so that it may be stored under the request's
    /// idempotency key.
    pub fn definitive(&self) -> bool {
        matches!(
            self.0.code,
            Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::OutOfRange
        ) && !self.0.retryable
    }

    /// The error as an encoded `google.rpc.Status`.
    pub fn encode(&self) -> Vec<u8> {
        let status = Status::from(self.clone());
        let details = tonic_types::Status::decode(status.details()).unwrap_or_default();
        tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: details.details,
        }
        .encode_to_vec()
    }

    /// Reads what [`Error::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let status = tonic_types::Status::decode(bytes).ok()?;
        let (code, message) = (Code::from_i32(status.code), status.message.clone());
        Some(Status::with_details(code, message, status.encode_to_vec().into()).into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)?;
        for (field, description) in &self.0.violations {
            write!(f, " [{field}: {description}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let inner = *error.0;
        let mut details = ErrorDetails::with_error_info(inner.reason, inner.domain, inner.metadata);
        if !inner.violations.is_empty() {
            let violations =
                inner.violations.into_iter().map(|(field, description)| FieldViolation::new(field, description));
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        if let Some(delay) = inner.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(inner.code, inner.message, details)
    }
}

/// What a link returned. A fault of the transport is a dependency that cannot be reached.
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // One by one: a detail that is malformed, or that nobody here knows, takes none of the others with it.
        let mut error = match status.get_details_error_info() {
            Some(info) => {
                let mut error = Self::named(&info.reason, status.message());
                error.0.code = status.code();
                error.0.domain = info.domain;
                error.0.metadata = info.metadata;
                error
            }
            None => Self::without_reason(&status),
        };
        if let Some(request) = status.get_details_bad_request() {
            error.0.violations = request.field_violations.into_iter().map(|v| (v.field, v.description)).collect();
        }
        error.0.retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        error
    }
}

impl Error {
    fn without_reason(status: &Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::Cancelled => {
                tracing::warn!(%status, "a dependency cannot be reached");
                Self::named("DEPENDENCY_UNAVAILABLE", "A service that is needed for this cannot be reached. Try again.")
            }
            Code::DeadlineExceeded => {
                Self::named("DEADLINE_EXCEEDED", "Time ran out. Repeat the call with the same request_id.")
            }
            Code::ResourceExhausted => Self::named("BODY_TOO_LARGE", status.message()),
            Code::InvalidArgument => Self::named("INVALID_FIELD", status.message()),
            Code::Unimplemented => Self::named("ROUTE_NOT_FOUND", "There is no such RPC."),
            _ => Self::internal(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_a_hop_and_a_row() {
        let error = Error::named("LIMIT_EXCEEDED", "Too many.")
            .with("limit", "10")
            .violation("lines", "at most 10")
            .retry_after(Duration::from_secs(3))
            .domain("order.agora");
        assert_eq!(Error::from(Status::from(error.clone())), error);
        assert_eq!(Error::decode(&error.encode()).unwrap(), error);
        assert_eq!(error.clone().domain("edge.agora"), error);
    }

    #[test]
    fn only_a_refusal_of_what_was_sent_names_a_field_and_only_once() {
        let error = |code: Code, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "catalog.agora", HashMap::new());
            Error::from(Status::with_error_details(code, "No.", details))
        };
        let refused = error(Code::InvalidArgument, "UNIT_MISMATCH").at_amount("price").at("price");
        assert_eq!(refused.metadata("field"), Some("price.unit"));
        assert_eq!(refused.to_string(), "UNIT_MISMATCH: No. [price.unit: No.]");
        let refused = error(Code::InvalidArgument, "SCALE_EXCEEDED").at_amount("price");
        assert_eq!(refused.metadata("field"), Some("price.value"));
        assert_eq!(error(Code::Unavailable, "OVERLOADED").at("price").metadata("field"), None);
    }

    #[test]
    fn one_bad_detail_takes_no_other_with_it() {
        let error = Error::named("LIMIT_EXCEEDED", "Too many.").with("limit", "10").retry_after(Duration::from_secs(3));
        let good = tonic_types::Status::decode(error.encode().as_slice()).unwrap();
        for (kind, value) in [
            ("google.rpc.BadRequest", vec![0xff]),
            ("google.rpc.DebugInfo", vec![0x0a, 9]),
            ("google.rpc.ErrorInfo", vec![0xff]),
            ("another.Detail", vec![1, 2, 3]),
        ] {
            let bad = prost_types::Any { type_url: format!("type.googleapis.com/{kind}"), value };
            for position in 0..=good.details.len() {
                let mut status = good.clone();
                status.details.insert(position, bad.clone());
                assert_eq!(Error::decode(&status.encode_to_vec()).unwrap(), error, "{kind} at {position}");
            }
        }
    }

    #[test]
    fn a_fault_of_the_transport_is_a_dependency_that_cannot_be_reached() {
        assert_eq!(Error::from(Status::unavailable("connection refused")).reason(), "DEPENDENCY_UNAVAILABLE");
        assert!(Error::decode(&[0xff, 0xff]).is_none());
    }
}
