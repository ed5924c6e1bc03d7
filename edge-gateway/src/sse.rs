//! A stream of replies over HTTP: server-sent events, or one JSON a line for who accepts `application/x-ndjson`.
//!
//! An event carries the message's `sequence` as its id, so that a client that was cut off goes on where it was. A quiet
//! stream gets a comment now and then. An error in the middle is the last event, of type `error`; the end of a stream
//! without one is its real end, or a drain, after which the client comes back by itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use kit::{Body, Error};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout_at},
};
use tonic::{Status, codec::Streaming};

use crate::{
    binding::Binding,
    errors::{Errors, Telling},
    fields,
    json::{Codec, Reader},
    transcode,
};

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `text/event-stream`.
    Events,
    /// `application/x-ndjson`.
    Lines,
}

impl Form {
    /// What `Accept` asks for; events, if it does not say.
    pub fn of(headers: &HeaderMap) -> Form {
        let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let is_ndjson = |part: &str| part.trim().starts_with("application/x-ndjson");
        if accepts.flat_map(|value| value.split(',')).any(is_ndjson) { Form::Lines } else { Form::Events }
    }
}

/// What a stream needs to be told.
pub struct Teller {
    pub codec: Arc<Codec>,
    pub errors: Arc<Errors>,
    pub binding: Arc<Binding>,
    pub telling: Telling,
    pub form: Form,
    pub heartbeat: Duration,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
    /// Turns true when the edge shuts down.
    pub draining: watch::Receiver<bool>,
}

/// The response that tells `messages`. Dropping its body cancels them.
pub fn response(teller: Teller, messages: Streaming<Bytes>) -> Response<Body> {
    let form = teller.form;
    let mut ticks = interval_at(Instant::now() + teller.heartbeat, teller.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Some((teller, messages, ticks));
    let frames = stream::unfold(state, |state| async move {
        let (teller, mut messages, mut ticks) = state?;
        let next = teller.next(&mut messages, &mut ticks).await?;
        let (chunk, is_last) = next;
        let rest = (!is_last).then_some((teller, messages, ticks));
        Some((Ok::<_, Status>(Frame::data(Bytes::from(chunk))), rest))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    let content = match form {
        Form::Events => "text/event-stream",
        Form::Lines => "application/x-ndjson",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Teller {
    /// The next piece of the body and whether it is the last; `None` at the end.
    async fn next(
        &self,
        messages: &mut Streaming<Bytes>,
        ticks: &mut tokio::time::Interval,
    ) -> Option<(Vec<u8>, bool)> {
        let (deadline, mut draining) = (self.deadline, self.draining.clone());
        let message = async {
            match deadline {
                Some(deadline) => timeout_at(deadline, messages.message()).await.unwrap_or_else(|_| Err(too_late())),
                None => messages.message().await,
            }
        };
        tokio::select! {
            message = message => {
                ticks.reset();
                match message {
                    Ok(Some(message)) => Some(self.event(&message)),
                    Ok(None) => None,
                    Err(status) => Some(self.failure(&fields::as_sent(&self.codec, &self.binding, status))),
                }
            }
            _ = ticks.tick() => Some((self.beat(), false)),
            _ = draining.wait_for(|draining| *draining) => None,
        }
    }

    fn event(&self, message: &Bytes) -> (Vec<u8>, bool) {
        let json = match transcode::reply(&self.codec, &self.binding, message) {
            Ok(json) => json,
            Err(error) => return self.failure(&error.into()),
        };
        let mut out = Vec::with_capacity(json.len() + 32);
        if self.form == Form::Lines {
            out.extend_from_slice(&json);
            out.push(b'\n');
            return (out, false);
        }
        if let Some(sequence) = self.sequence(message) {
            out.extend_from_slice(format!("id: {sequence}\n").as_bytes());
        }
        // The JSON is one line: its strings have line ends escaped.
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&json);
        out.extend_from_slice(b"\n\n");
        (out, false)
    }

    /// The message's own `sequence`.
    fn sequence(&self, message: &[u8]) -> Option<u64> {
        let table = &self.codec.tables.messages[self.binding.output];
        let field = table.field("sequence").filter(|field| field.ty.wire_type() == 0)?;
        let mut reader = Reader::new(message);
        while let Ok(Some((number, wire_type))) = reader.tag() {
            if number == field.number {
                return reader.varint().ok();
            }
            reader.skip(number, wire_type).ok()?;
        }
        None
    }

    fn failure(&self, status: &Status) -> (Vec<u8>, bool) {
        let object = self.errors.object(status, &self.telling);
        let text = match self.form {
            Form::Events => format!("event: error\ndata: {object}\n\n"),
            Form::Lines => format!("{object}\n"),
        };
        (text.into_bytes(), true)
    }

    fn beat(&self) -> Vec<u8> {
        match self.form {
            Form::Events => b": still here\n\n".to_vec(),
            Form::Lines => b"\n".to_vec(),
        }
    }
}

fn too_late() -> Status {
    Error::named("DEADLINE_EXCEEDED", "The time that you gave for the stream is over.").into()
}
