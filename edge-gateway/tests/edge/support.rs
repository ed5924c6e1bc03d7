//! The test contract, an edge in front of it on a port of its own, and clients.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use edge_gateway::{Config, Edge};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::{
    contract::{self, Contract},
    drain::Drain,
    link::Link,
};
use prost_reflect::DynamicMessage;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{tokens, upstream::Upstream};

/// Long enough for anything that is not broken.
pub const SOON: Duration = Duration::from_secs(10);

/// The contract of `proto/`, installed.
pub fn contract() -> Arc<Contract> {
    static CONTRACT: OnceLock<Arc<Contract>> = OnceLock::new();
    let parse = || {
        let mut compiler = protox::Compiler::new(includes()).unwrap();
        compiler.include_imports(true).include_source_info(true);
        compiler.open_files(["test/v1/thing.proto", "agora/type/v1/reason.proto"]).unwrap();
        let contract = Arc::new(Contract::parse(&compiler.encode_file_descriptor_set()).unwrap());
        contract::install(contract.clone());
        contract
    };
    CONTRACT.get_or_init(parse).clone()
}

/// The descriptor set of everything in `proto/` of this repository.
pub fn platform() -> Vec<u8> {
    let [_, ours, theirs] = includes();
    let mut folders = vec![ours.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let mut compiler = protox::Compiler::new([ours, theirs]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_files(files).unwrap();
    compiler.encode_file_descriptor_set()
}

/// The edge of the platform, in front of services that answer that there is nothing.
pub async fn start_platform() -> Running {
    // The test contract is what `Upstream` speaks.
    contract();
    let contract = Contract::parse(&platform()).unwrap().into();
    let config = Config { rate_limited: false, ..Config::default() };
    start_for(contract, Upstream::new(), Upstream::of_nothing(), config).await
}

fn includes() -> [PathBuf; 3] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests/edge/proto", "../proto", "../third_party/proto"].map(|folder| root.join(folder))
}

/// The descriptor set of one file.
pub fn compile(source: &str) -> Vec<u8> {
    struct One(String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "one.proto" => File::from_source(name, &self.0),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(One(source.to_owned()));
    for folder in includes() {
        resolver.add(IncludeFileResolver::new(folder));
    }
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true).open_file("one.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// What a message says, without what it leaves unsaid.
pub fn json(message: &DynamicMessage) -> Value {
    message.serialize(serde_json::value::Serializer).unwrap()
}

/// A running edge.
pub struct Running {
    pub address: SocketAddr,
    pub upstream: Upstream,
    pub drain: Drain,
    pub served: tokio::task::JoinHandle<()>,
}

/// Starts an edge.
pub async fn start(config: Config) -> Running {
    let upstream = Upstream::new();
    let link = upstream.link();
    start_for(contract(), upstream, link, config).await
}

/// Starts an edge for any contract.
pub async fn start_for(contract: Arc<Contract>, upstream: Upstream, link: Link, config: Config) -> Running {
    let edge = Edge::new(contract, link, tokens::verifier(), config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, draining) = Drain::new();
    let served = tokio::spawn(edge.serve(listener, async move { draining.wait().await }));
    Running { address, upstream, drain, served }
}

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The reason of an error in the form of AIP-193.
    pub fn reason(&self) -> String {
        let details = self.json()["error"]["details"].as_array().cloned().unwrap_or_default();
        let info = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo");
        info.map_or_else(|| panic!("no reason: {self:?}"), |info| info["reason"].as_str().unwrap().to_owned())
    }
}

impl Running {
    /// Sends `GET /path` or `POST /path {body}`, with headers as `name: value`.
    pub async fn send(&self, line: &str, headers: &[&str]) -> Answer {
        let mut words = line.splitn(3, ' ');
        let (verb, path, body) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
        let mut text = format!("{verb} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for header in headers {
            text += &format!("{header}\r\n");
        }
        if !body.is_empty() && !headers.iter().any(|header| header.starts_with("content-length")) {
            text += &format!("content-length: {}\r\n", body.len());
        }
        self.raw(format!("{text}\r\n{body}").as_bytes()).await
    }

    /// Sends bytes and reads the answer to its end.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The edge may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut text = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await.expect("an answer");
        parse(&String::from_utf8(text).unwrap())
    }

    /// Calls an RPC over gRPC: the headers and trailers as one, and the messages.
    pub async fn grpc(&self, path: &str, message: &[u8], headers: &[(&str, &str)]) -> (HeaderMap, Bytes) {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://test{path}")).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(crate::upstream::frame(message));
        let answer = client.send_request(request.header("te", "trailers").body(body).unwrap()).await.unwrap();
        let mut headers = answer.headers().clone();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap();
        headers.extend(body.trailers().cloned().unwrap_or_default());
        (headers, body.to_bytes())
    }
}

/// Reads an answer; chunks are put together.
fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: HeaderMap = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let body = if headers.contains_key("transfer-encoding") { unchunk(body) } else { body.to_owned() };
    Answer { status, headers, body }
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out += &rest[..length];
        body = rest.get(length + 2..).unwrap_or_default();
    }
    out
}
