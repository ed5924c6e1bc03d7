//! The call to the service: wire bytes there and back, as gRPC.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use kit::{Error, link::Link};
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming},
    metadata::MetadataMap,
};

/// Passes messages on as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The way to the services.
#[derive(Clone)]
pub struct Upstream {
    link: Link,
    reply_max: usize,
}

impl Upstream {
    /// Replies longer than `reply_max` bytes are refused.
    pub fn new(link: Link, reply_max: usize) -> Upstream {
        Upstream { link, reply_max }
    }

    /// The link itself, for requests that are gRPC already.
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    fn client(&self) -> Grpc<Link> {
        Grpc::new(self.link.clone()).max_decoding_message_size(self.reply_max)
    }

    /// Calls a unary RPC.
    ///
    /// # Errors
    /// What the service answered, or that it cannot be reached.
    pub async fn unary(
        &self,
        path: &str,
        metadata: MetadataMap,
        message: Bytes,
    ) -> Result<tonic::Response<Bytes>, Status> {
        let mut client = self.client();
        client.ready().await.map_err(unreachable)?;
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), message);
        client.unary(request, path_of(path)?, Raw).await
    }

    /// Calls an RPC that answers with a stream.
    ///
    /// # Errors
    /// What the service answered, or that it cannot be reached.
    pub async fn stream(
        &self,
        path: &str,
        metadata: MetadataMap,
        message: Bytes,
    ) -> Result<tonic::Response<Streaming<Bytes>>, Status> {
        let mut client = self.client();
        client.ready().await.map_err(unreachable)?;
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), message);
        client.server_streaming(request, path_of(path)?, Raw).await
    }
}

fn path_of(path: &str) -> Result<PathAndQuery, Status> {
    path.parse().map_err(|error| Error::internal(format!("{path}: {error}")).into())
}

fn unreachable(status: Status) -> Status {
    Error::from(status).into()
}
