//! Ends a stream when the token that opened it is no longer good: a reply that goes on for minutes must not outlive the
//! session that asked for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;

use crate::{Body, Caller, auth::Verifier};

/// How often the token of an open stream is looked at again.
const LOOK: Duration = Duration::from_millis(500);

struct Leashed {
    body: Body,
    verifier: Verifier,
    caller: Arc<Caller>,
    look: Interval,
    ended: bool,
}

/// The same reply, which ends with the reason as soon as the caller's token is refused.
pub(crate) fn hold(response: Response<Body>, verifier: Verifier, caller: Arc<Caller>) -> Response<Body> {
    response.map(|body| {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Body::new(StreamBody::new(frames(Leashed { body, verifier, caller, look, ended: false })))
    })
}

fn frames(leashed: Leashed) -> impl Stream<Item = Result<Frame<Bytes>, Status>> + Send {
    stream::unfold(leashed, |mut held| async move {
        if held.ended {
            return None;
        }
        loop {
            tokio::select! {
                frame = held.body.frame() => return frame.map(|frame| (frame, held)),
                _ = held.look.tick() => {
                    if let Err(error) = held.verifier.verify(&held.caller.token) {
                        held.ended = true;
                        return Some((Ok(Frame::trailers(trailers(&error.into()))), held));
                    }
                }
            }
        }
    })
    .boxed()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // A status of ours has a message that fits a header; if not, its code alone must do.
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}
