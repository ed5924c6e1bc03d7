//! The body of a reply on its way back: ends with a gRPC status whatever happens to the connection, and when the caller's
//! time is over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::{endpoint::Lease, failure, reply, routes::Route};

/// A frame of a reply.
pub(crate) type Piece = Frame<Bytes>;

/// A reply's body. Holds the call's place at the endpoint until it has ended or is dropped; dropping it cancels the call.
pub(crate) struct Answer {
    body: Option<Incoming>,
    /// What was read ahead.
    first: Option<Piece>,
    deadline: Option<Instant>,
    /// Made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
    route: Arc<Route>,
    _place: Lease,
}

impl Answer {
    pub(crate) fn new(
        body: Incoming,
        first: Option<Piece>,
        deadline: Option<Instant>,
        route: Arc<Route>,
        place: Lease,
    ) -> Self {
        Self { body: Some(body), first, deadline, timer: None, route, _place: place }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Piece, Status>>> {
        self.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(reply::trailers(status)))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                let broken =
                    reply::unavailable(self.route.destination.workload(), &self.route.path, &failure::words(&error));
                return self.end(&broken);
            }
            Poll::Ready(None) => {
                self.body = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        let late = reply::late(self.route.destination.workload(), &self.route.path);
        self.end(&late)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
