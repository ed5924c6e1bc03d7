//! The body of a request on its way out: kept, as long as it is small, so that it can be sent once more.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use kit::Body;
use tonic::Status;

/// The largest request that is kept for a repeat, in bytes.
const MAX_KEPT: usize = 64 * 1024;

/// A request's body: what was read of it, then what was not.
pub(crate) struct Payload {
    read: Option<Bytes>,
    rest: Option<Body>,
}

impl Payload {
    /// A body that is passed on as it comes, and so can be sent only once.
    pub(crate) fn stream(body: Body) -> Self {
        Self { read: None, rest: Some(body) }
    }

    /// Reads a body to its end, or until it is too large to be kept. A unary call loses nothing by the wait: its service
    /// can do nothing before the end either.
    ///
    /// # Errors
    /// If the caller goes away meanwhile.
    pub(crate) async fn read(mut body: Body) -> Result<Self, Status> {
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // A gRPC request has no trailers.
            let Ok(data) = frame?.into_data() else { continue };
            if first.is_empty() {
                first = data;
            } else {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
            if first.len().max(more.len()) > MAX_KEPT {
                return Ok(Self { read: Some(whole(first, more)), rest: Some(body) });
            }
        }
        Ok(Self { read: Some(whole(first, more)), rest: None })
    }

    /// The same body once more, if all of it was kept.
    pub(crate) fn again(&self) -> Option<Self> {
        self.rest.is_none().then(|| Self { read: self.read.clone(), rest: None })
    }
}

fn whole(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() { first } else { more.freeze() }
}

impl HttpBody for Payload {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(read) = self.read.take().filter(|read| !read.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.as_ref().is_none_or(Bytes::is_empty) && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.read, &self.rest) {
            (Some(read), None) => SizeHint::with_exact(read.len() as u64),
            (None, None) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn in_pieces(pieces: &'static [&'static [u8]]) -> Body {
        let frames = pieces.iter().map(|piece| Ok::<_, Status>(Frame::data(Bytes::from_static(piece))));
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_small_body_can_be_sent_again_whole() {
        let payload = Payload::read(in_pieces(&[b"ab", b"", b"cd", b"e"])).await.unwrap();
        for _ in 0..2 {
            let again = payload.again().unwrap();
            assert_eq!(again.collect().await.unwrap().to_bytes(), "abcde");
        }
    }

    #[tokio::test]
    async fn a_large_body_arrives_whole_but_only_once() {
        static PIECES: [&[u8]; 3] = [&[7; MAX_KEPT], b"x", b"y"];
        let payload = Payload::read(in_pieces(&PIECES)).await.unwrap();
        assert!(payload.again().is_none());
        let bytes = payload.collect().await.unwrap().to_bytes();
        assert_eq!((bytes.len(), &bytes[MAX_KEPT..]), (MAX_KEPT + 2, &b"xy"[..]));
    }

    #[tokio::test]
    async fn a_stream_is_passed_on_and_not_kept() {
        let payload = Payload::stream(Body::new(Full::from("abc")));
        assert!(payload.again().is_none());
        assert_eq!(payload.collect().await.unwrap().to_bytes(), "abc");
    }
}
