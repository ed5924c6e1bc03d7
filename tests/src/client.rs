//! One way to call any RPC, over REST or over gRPC, so that a journey is written once. Both are driven by the contract
//! alone: the request is JSON, the route or the bytes follow from the descriptors.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{Method as Verb, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kit::contract::{Contract, Method};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use tonic::{
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

/// How long a test waits for one reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON over HTTP.
    Rest,
    /// Protobuf over HTTP/2.
    Grpc,
}

/// A caller of the platform.
#[derive(Clone)]
pub struct Client {
    pub protocol: Protocol,
    pub address: String,
    contract: Arc<Contract>,
    http: Http<HttpConnector, Full<Bytes>>,
    channel: Channel,
    token: Option<String>,
}

/// What a call was refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: String,
    pub code: tonic::Code,
    pub message: String,
    /// Over REST only.
    pub http_status: Option<u16>,
    pub metadata: Box<Map<String, Value>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}): {}", self.reason, self.code, self.message)
    }
}

impl std::error::Error for Refused {}

pub type Answer = Result<Value, Refused>;

impl Client {
    pub fn new(protocol: Protocol, address: &str, contract: Arc<Contract>) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self {
            protocol,
            address: address.to_owned(),
            contract,
            http: Http::builder(TokioExecutor::new()).build_http(),
            channel: endpoint.connect_lazy(),
            token: None,
        })
    }

    /// The same client, speaking for whoever this token was given to.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    fn method(&self, rpc: &str) -> &Arc<Method> {
        self.contract.method(&format!("/agora.{rpc}")).unwrap_or_else(|| panic!("the contract has no {rpc}"))
    }

    /// Calls `order.v1.OrderService/GetOrder` with a request in JSON, and gives the whole reply message.
    pub async fn call(&self, rpc: &str, request: Value) -> Answer {
        let method = self.method(rpc);
        let answered = tokio::time::timeout(PATIENCE, async {
            match self.protocol {
                Protocol::Rest if method.http.is_empty() => self.grpc(method, &request).await,
                Protocol::Rest => self.rest(method, &request).await,
                Protocol::Grpc => self.grpc(method, &request).await,
            }
        });
        answered.await.unwrap_or_else(|_| panic!("{rpc} did not answer within {PATIENCE:?}"))
    }

    async fn rest(&self, method: &Method, request: &Value) -> Answer {
        let (verb, target, body) = bind(method, request);
        let sent = self.http_request(verb, &target, body, &[]).await.expect("the edge answers");
        let (status, bytes) = sent;
        let value: Value = if bytes.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|error| panic!("{target}: {error}: {}", String::from_utf8_lossy(&bytes)))
        };
        if !(200..300).contains(&status) {
            return Err(refused(&value, status));
        }
        let wanted = if method.policy.success_status == 0 { 200 } else { method.policy.success_status };
        assert_eq!(status, wanted, "{target}: the status of a success is in the contract");
        match method.http[0].response_body.as_str() {
            "" => Ok(value),
            field => Ok(json!({ camel(field): value })),
        }
    }

    /// A plain HTTP request with this client's token. Gives status and body.
    pub async fn http_request(
        &self,
        verb: Verb,
        target: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<(u16, Bytes)> {
        let body = body.map(|body| body.to_string());
        let response = self.send(verb, target, body, headers).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Posts a text that claims to be JSON. Gives status and body.
    pub async fn post_text(&self, target: &str, text: &str) -> Result<(u16, Bytes)> {
        let response = self.send(Verb::POST, target, Some(text.to_owned()), &[]).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    async fn send(
        &self,
        verb: Verb,
        target: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<http::Response<hyper::body::Incoming>> {
        let mut builder = Request::builder().method(verb).uri(format!("http://{}{target}", self.address));
        if let Some(token) = &self.token {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = match body {
            Some(text) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json");
                Full::from(text)
            }
            None => Full::default(),
        };
        Ok(self.http.request(builder.body(body)?).await?)
    }

    async fn grpc(&self, method: &Method, request: &Value) -> Answer {
        let message = encode(&method.input, request);
        let reply = self.ready().await.unary(self.grpc_request(message), path(method), Raw).await.map_err(status)?;
        Ok(decode(&method.output, &reply.into_inner()))
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("the edge accepts");
        grpc
    }

    fn grpc_request(&self, message: Bytes) -> tonic::Request<Bytes> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            let value: MetadataValue<_> = format!("Bearer {token}").parse().expect("a token is ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Follows a stream: SSE over REST, a server stream over gRPC.
    pub async fn watch(&self, rpc: &str, request: Value) -> Result<BoxStream<'static, Answer>, Refused> {
        let method = self.method(rpc).clone();
        match self.protocol {
            Protocol::Rest => self.watch_rest(&method, &request).await,
            Protocol::Grpc => {
                let message = self.grpc_request(encode(&method.input, &request));
                let reply = self.ready().await.server_streaming(message, path(&method), Raw).await.map_err(status)?;
                let output = method.output.clone();
                let stream = reply.into_inner();
                Ok(stream.map(move |item| item.map(|bytes| decode(&output, &bytes)).map_err(status)).boxed())
            }
        }
    }

    async fn watch_rest(&self, method: &Method, request: &Value) -> Result<BoxStream<'static, Answer>, Refused> {
        let (verb, target, body) = bind(method, request);
        let body = body.map(|body| body.to_string());
        let response =
            self.send(verb, &target, body, &[("accept", "text/event-stream")]).await.expect("the edge answers");
        let status = response.status().as_u16();
        if status != 200 {
            let bytes = response.into_body().collect().await.expect("a body").to_bytes();
            return Err(refused(&serde_json::from_slice(&bytes).expect("JSON"), status));
        }
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        Ok(events(response.into_body()).boxed())
    }
}

/// Cuts a body into server-sent events (HTML Standard, 9.2).
fn events(body: hyper::body::Incoming) -> impl futures::Stream<Item = Answer> + Send {
    let chunks = body.into_data_stream();
    futures::stream::unfold((chunks, String::new()), |(mut chunks, mut text)| async move {
        loop {
            if let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let lines = |prefix: &str| {
                    event.lines().filter_map(|line| line.strip_prefix(prefix).map(str::trim)).collect::<Vec<_>>()
                };
                let data = lines("data:").join("\n");
                if data.is_empty() {
                    continue;
                }
                let value: Value = serde_json::from_str(&data).expect("an event is JSON");
                let answer = if lines("event:").contains(&"error") { Err(refused(&value, 0)) } else { Ok(value) };
                return Some((answer, (chunks, text)));
            }
            let chunk = chunks.next().await?.ok()?;
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    })
}

/// The route of an RPC for one request: verb, target and body.
fn bind(method: &Method, request: &Value) -> (Verb, String, Option<Value>) {
    let binding = method
        .http
        .iter()
        .find(|binding| {
            variables(&binding.path).all(|name| lookup(request, &name).is_some_and(|text| !text.is_empty()))
        })
        .unwrap_or_else(|| panic!("{}: no route takes {request}", method.path));
    let mut rest = request.clone();
    let mut target = binding.path.clone();
    for name in variables(&binding.path) {
        let value = lookup(request, &name).unwrap_or_default();
        target = target.replace(&format!("{{{name}}}"), &escape(&value));
        forget(&mut rest, &name);
    }
    let body = match binding.body.as_str() {
        "" => None,
        "*" => Some(std::mem::replace(&mut rest, json!({}))),
        field => rest.as_object_mut().and_then(|fields| fields.remove(&camel(field))),
    };
    let mut query = Vec::new();
    flatten("", &rest, &mut query);
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    (binding.verb.clone(), target, body)
}

fn variables(template: &str) -> impl Iterator<Item = String> + '_ {
    template.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name.to_owned()))
}

fn lookup(value: &Value, dotted: &str) -> Option<String> {
    let found = dotted.split('.').try_fold(value, |value, name| value.get(camel(name)))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

fn forget(value: &mut Value, dotted: &str) {
    let (parents, leaf) = dotted.rsplit_once('.').unwrap_or(("", dotted));
    let parent =
        parents.split('.').filter(|name| !name.is_empty()).try_fold(value, |value, name| value.get_mut(camel(name)));
    if let Some(fields) = parent.and_then(Value::as_object_mut) {
        fields.remove(&camel(leaf));
    }
}

fn flatten(prefix: &str, value: &Value, query: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, query);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(prefix, item, query)),
        Value::String(text) => query.push(format!("{prefix}={}", escape(text))),
        other => query.push(format!("{prefix}={other}")),
    }
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped + &char::from(byte).to_string(),
        byte => format!("{escaped}%{byte:02X}"),
    })
}

fn camel(name: &str) -> String {
    let mut upper = false;
    name.chars().fold(String::new(), |mut text, letter| {
        match letter {
            '_' => upper = true,
            letter if std::mem::take(&mut upper) => text.push(letter.to_ascii_uppercase()),
            letter => text.push(letter),
        }
        text
    })
}

fn encode(descriptor: &MessageDescriptor, request: &Value) -> Bytes {
    let text = request.to_string();
    let mut json = serde_json::Deserializer::from_str(&text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut json, &options)
        .unwrap_or_else(|error| panic!("{}: {error}: {request}", descriptor.full_name()));
    message.encode_to_vec().into()
}

fn decode(descriptor: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).expect("a reply of the contract");
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON")
}

fn path(method: &Method) -> http::uri::PathAndQuery {
    method.path.parse().expect("a path")
}

fn refused(body: &Value, http_status: u16) -> Refused {
    let error = &body["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let info = details
        .iter()
        .find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo")
        .unwrap_or_else(|| panic!("an error without ErrorInfo: {body}"));
    let code = (0..17)
        .map(tonic::Code::from_i32)
        .find(|code| screaming(*code) == text(&error["status"]))
        .unwrap_or_else(|| panic!("an error without status: {body}"));
    Refused {
        reason: text(&info["reason"]),
        code,
        message: text(&error["message"]),
        http_status: (http_status != 0).then_some(http_status),
        metadata: Box::new(info["metadata"].as_object().cloned().unwrap_or_default()),
    }
}

/// `FailedPrecondition` as `FAILED_PRECONDITION`.
pub fn screaming(code: tonic::Code) -> String {
    if code == tonic::Code::Ok {
        return "OK".into();
    }
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

fn status(status: tonic::Status) -> Refused {
    let code = status.code();
    let error = kit::Error::from(status.clone());
    let metadata = Box::new(error.all_metadata().iter().map(|(k, v)| (k.clone(), json!(v))).collect());
    Refused {
        reason: error.reason().to_owned(),
        code,
        message: status.message().to_owned(),
        http_status: None,
        metadata,
    }
}

/// Passes message bytes through.
#[derive(Clone, Copy, Debug)]
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
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, bytes::Buf::remaining(buffer))))
    }
}

/// The next message of a stream within the patience of a test.
pub async fn next(stream: &mut BoxStream<'static, Answer>) -> Result<Value> {
    match tokio::time::timeout(PATIENCE, stream.next()).await.context("the stream stays silent")? {
        Some(answer) => Ok(answer?),
        None => bail!("the stream ended"),
    }
}
