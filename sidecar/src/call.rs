//! One call on its way out: attempts, until one is answered, the contract forbids another, or time is over.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kit::{Body, timeout};
use rand::Rng;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::{
    answer::{Answer, Piece},
    destination::{Destination, NoPlace},
    endpoint::Endpoint,
    failure::{Failure, MAX_ATTEMPTS, Proof, may_repeat},
    payload::Payload,
    reply,
    routes::Route,
};

/// The pause before the second attempt is a random part of this; before the third, of twice as much.
const BACKOFF: Duration = Duration::from_millis(25);

/// Makes a call, and answers in any case.
pub(crate) async fn make(route: &Arc<Route>, request: Request<Body>) -> Response<Body> {
    let workload = route.destination.workload();
    route.destination.meters.requests.inc();
    let deadline = match deadline_of(route, &request) {
        Ok(deadline) => deadline,
        Err(status) => return reply::response(status),
    };
    let answer = attempts(route, request, deadline);
    let answered = match deadline {
        // Dropping the attempts cancels the one that is under way.
        Some(deadline) => {
            timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(reply::late(workload, &route.path)))
        }
        None => answer.await,
    };
    answered.unwrap_or_else(reply::response)
}

/// When the caller's time is over, counted from the arrival of its headers.
fn deadline_of(route: &Route, request: &Request<Body>) -> Result<Option<Instant>, Status> {
    let asked = match request.headers().get(timeout::HEADER) {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(timeout::parse).ok_or_else(|| {
            let message = "`grpc-timeout` is malformed: write at most eight digits and a unit, such as `500m`.";
            reply::status(Code::InvalidArgument, "INVALID_FIELD", message, &[("field", timeout::HEADER)])
        })?),
    };
    let left = match (asked, route.limit) {
        (Some(asked), Some(limit)) => Some(asked.min(limit)),
        (asked, limit) => asked.or(limit),
    };
    // A timeout beyond what an instant can say is none.
    Ok(left.and_then(|left| Instant::now().checked_add(left)))
}

async fn attempts(
    route: &Arc<Route>,
    request: Request<Body>,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    let destination = &route.destination;
    destination.budget.call();
    let (head, body) = request.into_parts();
    let mut payload = if route.client_streaming { Payload::stream(body) } else { Payload::read(body).await? };
    let mut failed_at = None;
    for attempt in 1.. {
        let kept = payload.again();
        let (at, failure) = match once(route, &head, payload, deadline, failed_at.as_ref()).await? {
            Outcome::Answered(reply) => return Ok(reply),
            Outcome::Failed(at, failure) => (at, failure),
        };
        let again = failure.unsent.or(kept);
        let proof = failure.proof;
        let allowed = attempt < MAX_ATTEMPTS && may_repeat(route.repeatable, proof) && destination.budget.retry();
        match again {
            Some(again) if allowed => payload = again,
            _ => {
                return failure
                    .reply
                    .ok_or_else(|| reply::unavailable(destination.workload(), &route.path, &failure.what));
            }
        }
        tracing::debug!(method = route.path, attempt, ?proof, what = failure.what, "one more attempt");
        destination.meters.retries.inc();
        failed_at = Some(at);
        tokio::time::sleep(backoff(attempt)).await;
    }
    Err(reply::unavailable(destination.workload(), &route.path, "no attempt was answered"))
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF * attempt).mul_f64(rand::rng().random())
}

enum Outcome {
    Answered(Response<Body>),
    /// Where, and how.
    Failed(Arc<Endpoint>, Failure),
}

/// One attempt.
///
/// # Errors
/// What no other attempt would change.
async fn once(
    route: &Arc<Route>,
    head: &Parts,
    payload: Payload,
    deadline: Option<Instant>,
    avoid: Option<&Arc<Endpoint>>,
) -> Result<Outcome, Status> {
    let destination = &route.destination;
    let place = destination.place(avoid).map_err(|problem| match problem {
        NoPlace::Nowhere => reply::unavailable(destination.workload(), &route.path, "nobody has said where it listens"),
        NoPlace::Full => reply::overloaded(destination.workload(), &route.path),
    })?;
    let endpoint = place.endpoint().clone();
    let connection = match place.connection(&destination.dialer).await {
        Ok(connection) => connection,
        Err(what) => {
            destination.meters.failures.inc();
            return Ok(Outcome::Failed(endpoint, Failure::not_sent(what, payload)));
        }
    };
    let sent = connection.sender.clone().try_send_request(outgoing(route, head, payload, deadline)).await;
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => {
            let failure = Failure::of(error);
            match failure.proof {
                Proof::None => note_failure(destination, &endpoint),
                Proof::NotSent | Proof::LeftBehind => place.discard(&connection),
                Proof::Refused => {}
            }
            return Ok(Outcome::Failed(endpoint, failure));
        }
    };

    let code = reply::code(response.headers());
    if code.is_none() && response.status() != StatusCode::OK {
        return Err(reply::not_grpc(destination.workload(), &route.path, response.status()));
    }
    let first = match read_ahead(route, code, &mut response).await {
        Ok(first) => first,
        Err(error) => {
            note_failure(destination, &endpoint);
            return Ok(Outcome::Failed(endpoint, Failure::broken(&error)));
        }
    };
    let code = code.or_else(|| first.as_ref().and_then(Piece::trailers_ref).and_then(reply::code));
    let response = response.map(|body| Body::new(Answer::new(body, first, deadline, route.clone(), place)));
    if code == Some(Code::Unavailable) {
        note_failure(destination, &endpoint);
        return Ok(Outcome::Failed(endpoint, Failure::answered(response)));
    }
    endpoint.succeeded();
    Ok(Outcome::Answered(response))
}

/// Reads the first frame of a reply of one message, to see whether there is one or only UNAVAILABLE, if it matters. A
/// stream cannot be held back: its headers may be all there is for a long time.
async fn read_ahead(
    route: &Route,
    code: Option<Code>,
    response: &mut Response<Incoming>,
) -> Result<Option<Piece>, hyper::Error> {
    if !route.repeatable || route.server_streaming || code.is_some() {
        return Ok(None);
    }
    response.body_mut().frame().await.transpose()
}

fn note_failure(destination: &Destination, endpoint: &Endpoint) {
    endpoint.failed(Instant::now());
    destination.meters.failures.inc();
}

/// The request as it goes over the wire: the caller's, to the destination, with the time that is left.
fn outgoing(route: &Route, head: &Parts, payload: Payload, deadline: Option<Instant>) -> Request<Payload> {
    let mut request = Request::new(payload);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = route.uri.clone();
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.clone_from(&head.headers);
    if let Some(deadline) = deadline {
        let left = timeout::format(deadline.saturating_duration_since(Instant::now()));
        // Digits and a letter are always a header's value.
        if let Ok(left) = HeaderValue::try_from(left) {
            headers.insert(timeout::HEADER, left);
        }
    }
    request
}
