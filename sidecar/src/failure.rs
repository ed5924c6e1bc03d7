//! What became of an attempt that failed, and whether another may follow.

use http::Response;
use hyper::client::conn::TrySendError;
use kit::Body;

use crate::payload::Payload;

/// The most attempts of one call, the first included.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// A failed attempt.
pub(crate) struct Failure {
    /// Whether the peer certainly did nothing.
    pub(crate) proof: Proof,
    /// What happened, in words.
    pub(crate) what: String,
    /// The request's body, if it came back unsent.
    pub(crate) unsent: Option<Payload>,
    /// The UNAVAILABLE that was answered, for the caller if there is no other attempt.
    pub(crate) reply: Option<Response<Body>>,
}

/// What is known about an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing left this process: no connection, or one that was closing.
    NotSent,
    /// The peer is going away, and says that it did not look at it: a GOAWAY whose last stream is an earlier one
    /// (RFC 9113 §6.8).
    LeftBehind,
    /// The peer says that it did not look at it: REFUSED_STREAM (§8.7).
    Refused,
    /// The peer may have done it, wholly or in part.
    None,
}

impl Failure {
    pub(crate) fn not_sent(what: impl Into<String>, unsent: Payload) -> Self {
        Self { proof: Proof::NotSent, what: what.into(), unsent: Some(unsent), reply: None }
    }

    pub(crate) fn answered(reply: Response<Body>) -> Self {
        Self { proof: Proof::None, what: "it answered UNAVAILABLE".into(), unsent: None, reply: Some(reply) }
    }

    pub(crate) fn broken(error: &hyper::Error) -> Self {
        Self { proof: prove(error), what: words(error), unsent: None, reply: None }
    }

    /// Reads what the connection says about a request for which there is no reply.
    pub(crate) fn of(mut error: TrySendError<http::Request<Payload>>) -> Self {
        match error.take_message() {
            Some(request) => Self::not_sent(words(error.error()), request.into_body()),
            None => Self::broken(error.error()),
        }
    }
}

/// Whether a call may be attempted once more. The contract says whether it is repeatable: NO_SIDE_EFFECTS or IDEMPOTENT.
pub(crate) fn may_repeat(repeatable: bool, proof: Proof) -> bool {
    repeatable || proof != Proof::None
}

/// What HTTP/2 proves. On a GOAWAY, `h2` gives this error only to the streams after the last one that the peer looked at;
/// the earlier ones go on, and end with an I/O error if the connection breaks.
fn prove(error: &hyper::Error) -> Proof {
    match h2_error(error) {
        Some(error) if error.is_remote() && error.is_go_away() => Proof::LeftBehind,
        Some(error) if error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Proof::Refused
        }
        _ => Proof::None,
    }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// An error with its cause, for people.
pub(crate) fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
