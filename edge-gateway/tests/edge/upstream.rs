//! A service of the test contract that answers by the id that it is asked for, and remembers what it was sent.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kit::{Body, Error, link::Link};
use prost_reflect::{DynamicMessage, Value, prost::Message};
use tokio::sync::watch;
use tonic::Status;

use crate::support;

/// What a picture is made of: bytes that JSON would write in another way.
pub const PICTURE: &str = "%PICTURE\u{0}\u{1}\"\\\r\n\u{7f}é";

/// A request as it arrived.
pub struct Seen {
    pub headers: HeaderMap,
    pub message: DynamicMessage,
}

/// The service.
#[derive(Clone)]
pub struct Upstream {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Counts the open streams.
    pub streams: watch::Sender<usize>,
}

impl Upstream {
    pub fn new() -> Upstream {
        Upstream { seen: Arc::default(), streams: watch::Sender::new(0) }
    }

    pub fn link(&self) -> Link {
        let this = self.clone();
        Link::new(tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move { this.answer(request).await }
        }))
    }

    /// A service of any contract, which answers that there is nothing.
    pub fn of_nothing() -> Link {
        Link::new(tower::service_fn(|_: Request<Body>| async {
            let frames = [Ok::<_, Infallible>(Frame::data(frame(&[]))), Ok(Frame::trailers(status("0")))];
            Ok::<_, Status>(response(Body::new(StreamBody::new(futures::stream::iter(frames)))))
        }))
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().pop().expect("nothing was sent")
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let method = support::contract().method(head.uri.path()).expect("an RPC of the contract").clone();
        let message = DynamicMessage::decode(method.input.clone(), &bytes[5..]).unwrap();
        let id = message.get_field_by_name("id").and_then(|id| Some(id.as_str()?.to_owned())).unwrap_or_default();
        self.seen.lock().unwrap().push(Seen { headers: head.headers, message: message.clone() });
        match (method.name.as_str(), id.as_str()) {
            ("GetThing", "gone") => Err(Status::unavailable("connection refused")),
            ("GetThing", id) if refusal(id).is_some() => Ok(refusal(id).unwrap().into_http()),
            ("GetThing", id) => Ok(unary(method_reply(&method, "thing", thing(id)))),
            ("UpdateThing" | "DropThing", _) if stale(&message) => Ok(refusal("stale").unwrap().into_http()),
            ("ListThings", _) => Ok(unary(method_reply(&method, "asked", Value::Message(message)))),
            ("UpdateThing", _) => Ok(unary(message)),
            ("CreateThing", _) => Ok(unary(thing("made").as_message().unwrap().clone())),
            ("DrawThing", id) => Ok(unary(method_reply(&method, "picture", Value::Message(picture(id))))),
            ("SketchThing", id) => Ok(unary(picture(id))),
            ("WatchThing", id) => Ok(self.watch(&message, id.to_owned())),
            ("SlowThing", _) => std::future::pending().await,
            _ => Ok(unary(DynamicMessage::new(method.output.clone()))),
        }
    }

    /// `three` changes and the end; one and a failure for `fail`; one and then nothing for any other id.
    fn watch(&self, request: &DynamicMessage, id: String) -> Response<Body> {
        let after = request.get_field_by_name("after_sequence").unwrap().as_i64().unwrap();
        let open = Open::new(self.streams.clone());
        let frames = futures::stream::unfold((0, open), move |(sent, open)| {
            let id = id.clone();
            async move {
                let frame = match (id.as_str(), sent) {
                    (_, 0) | ("three", 1 | 2) => Frame::data(change(after + sent + 1)),
                    ("three", 3) => Frame::trailers(status("0")),
                    ("three" | "fail", 4) | ("fail", 2) => return None,
                    ("fail", _) => {
                        let error: Status = Error::named("OVERLOADED", "Come back later.").into();
                        Frame::trailers(error.into_http::<Body>().into_parts().0.headers)
                    }
                    _ => std::future::pending().await,
                };
                Some((Ok::<_, Infallible>(frame), (sent + 1, open)))
            }
        });
        response(Body::new(StreamBody::new(frames)))
    }
}

/// Counts a stream for as long as it lives.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(streams: watch::Sender<usize>) -> Open {
        streams.send_modify(|open| *open += 1);
        Open(streams)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

fn refusal(id: &str) -> Option<Status> {
    use tonic_types::{ErrorDetail, StatusExt};
    let unknown = |status: Status| {
        let mut rich = tonic_types::Status::decode(status.details()).unwrap();
        let any = |url: &str| prost_types::Any { type_url: url.to_owned(), value: vec![1, 2, 3] };
        rich.details.insert(0, any("type.googleapis.com/none.Such"));
        rich.details.insert(0, any("type.googleapis.com/google.rpc.DebugInfo"));
        Status::with_details(status.code(), status.message(), rich.encode_to_vec().into())
    };
    match id {
        "missing" => {
            Some(Error::named("RESOURCE_NOT_FOUND", "There is no such thing.").with("thing", "missing").into())
        }
        "busy" => {
            let error = Error::named("OVERLOADED", "Come back later.").retry_after(Duration::from_millis(1500));
            Some(unknown(error.into()))
        }
        "stale" => Some(Error::named("ETAG_MISMATCH", "It has changed.").with("etag", "\"v3\"").into()),
        "violated" => {
            let error = Error::named("INVALID_FIELD", "Correct the request: shelf.room_name is wrong.");
            Some(error.with("field", "shelf.room_name").violation("shelf.room_name", "is wrong").into())
        }
        "named" => {
            let error = Error::named("RESOURCE_NOT_FOUND", "Say another `room_name`, and keep its page_token.");
            Some(error.into())
        }
        "bare" => Some(Status::not_found("no thing")),
        "boom" => Some(Status::internal("the password is hunter2")),
        "quota" => Some(Status::with_error_details_vec(
            tonic::Code::ResourceExhausted,
            "too many things",
            vec![ErrorDetail::QuotaFailure(tonic_types::QuotaFailure::with_violation("thing:1", "too many"))],
        )),
        _ => None,
    }
}

/// A picture of a thing; an empty one that does not say what it is for `blank`.
fn picture(id: &str) -> DynamicMessage {
    let mut body = DynamicMessage::new(support::contract().pool().get_message_by_name("google.api.HttpBody").unwrap());
    if id != "blank" {
        body.set_field_by_name("content_type", Value::String("image/x-test".to_owned()));
        body.set_field_by_name("data", Value::Bytes(PICTURE.into()));
    }
    body
}

/// Whether a request is for another version of a thing than the third.
fn stale(request: &DynamicMessage) -> bool {
    let thing = request.get_field_by_name("thing");
    let guarded = thing.as_ref().and_then(|thing| thing.as_message()).unwrap_or(request);
    let etag = guarded.get_field_by_name("etag").and_then(|etag| Some(etag.as_str()?.to_owned())).unwrap_or_default();
    !etag.is_empty() && etag != "\"v3\""
}

/// A thing; with an etag for `versioned`, and with a price of its own each time for `moving`.
fn thing(id: &str) -> Value {
    let descriptor = support::contract().pool().get_message_by_name("test.v1.Thing").unwrap();
    let mut thing = DynamicMessage::new(descriptor);
    thing.set_field_by_name("id", Value::String(id.to_owned()));
    if matches!(id, "versioned" | "moving") {
        thing.set_field_by_name("etag", Value::String("\"v3\"".to_owned()));
    }
    if id == "moving" {
        static PRICE: AtomicI64 = AtomicI64::new(1);
        thing.set_field_by_name("count", Value::I64(PRICE.fetch_add(1, Ordering::Relaxed)));
    }
    Value::Message(thing)
}

fn method_reply(method: &kit::contract::Method, field: &str, value: Value) -> DynamicMessage {
    let mut reply = DynamicMessage::new(method.output.clone());
    reply.set_field_by_name(field, value);
    reply
}

fn change(sequence: i64) -> Bytes {
    let descriptor = support::contract().pool().get_message_by_name("test.v1.WatchThingResponse").unwrap();
    let mut change = DynamicMessage::new(descriptor);
    change.set_field_by_name("sequence", Value::I64(sequence));
    frame(&change.encode_to_vec())
}

/// A gRPC message with its prefix.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))])
}

fn unary(reply: DynamicMessage) -> Response<Body> {
    let frames = [Ok::<_, Infallible>(Frame::data(frame(&reply.encode_to_vec()))), Ok(Frame::trailers(status("0")))];
    response(Body::new(StreamBody::new(futures::stream::iter(frames))))
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
