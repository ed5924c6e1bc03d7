//! A service known only by its descriptor, behind the layers that every service has.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use kit::{
    Body, Call, Clock, Error, Timestamp,
    auth::{Keyring, KeysAndRevocations, Verifier},
    contract::{self, Contract},
    server::App,
};
use serde_json::json;
use tonic::{Status, server::NamedService, service::Routes};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

const NOW: i64 = 1_800_000_000;

const THINGS: &str = r#"
    message Thing {
        string id = 1 [(agora.policy.v1.id) = "thg"];
        string name = 2 [(buf.validate.field).string.max_len = 5];
        string request_id = 3;
        bytes data = 4;
    }
    service Things {
        rpc Open(Thing) returns (Thing) { option (agora.policy.v1.policy) = { access: ACCESS_PUBLIC }; }
        rpc Shared(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_PUBLIC services: "order" };
        }
        rpc Own(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_OWNER roles: "support" services: "order" };
        }
        rpc Staff(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_ROLES roles: ["admin", "support"] services: "order" };
        }
        rpc Inner(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_SERVICES services: ["order", "ledger"] };
        }
        rpc Mesh(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_SERVICES services: "*" };
        }
        rpc Save(Thing) returns (Thing) {
            option (agora.policy.v1.policy) = { access: ACCESS_PUBLIC request_id: REQUEST_ID_REQUIRED };
        }
        rpc Stuck(Thing) returns (Thing) { option (agora.policy.v1.policy) = { access: ACCESS_PUBLIC }; }
        rpc Watch(Thing) returns (stream Thing) { option (agora.policy.v1.policy) = { access: ACCESS_PUBLIC }; }
    }
"#;

static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| crate::proto::compile(THINGS));
static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| {
    let contract = Arc::new(Contract::parse(&DESCRIPTORS).unwrap());
    contract::install(contract.clone());
    contract
});

/// Answers whatever it is asked with an empty message, and remembers the calls that reached it. `Stuck` never answers.
#[derive(Clone, Default)]
struct Things(Arc<Mutex<Vec<Call>>>);

impl NamedService for Things {
    const NAME: &'static str = "agora.thing.v1.Things";
}

impl Service<Request<Body>> for Things {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seen = self.0.clone();
        Box::pin(async move {
            seen.lock().unwrap().push(Call::current().unwrap());
            if request.uri().path().ends_with("/Stuck") {
                future::pending::<()>().await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(future::ready(Some(Ok(trailers))));
            Ok(Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap())
        })
    }
}

/// The service of `things.proto`, and a key that signs tokens which it trusts.
pub struct House {
    pub app: App,
    pub clock: Clock,
    key: SigningKey,
    things: Things,
}

pub fn house() -> House {
    let clock = Clock::manual(Timestamp::from_seconds(NOW));
    let key = SigningKey::from_bytes(&[7; 32]);
    let keyring = Keyring::new(clock.clone());
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let keys = vec![("k1".to_owned(), public, None)];
    keyring.apply(KeysAndRevocations { snapshot: true, keys, ..Default::default() });
    let verifier = Verifier::new(keyring, clock.clone(), "https://auth.test", "agora");
    let things = Things::default();
    let app = App::new("thing", CONTRACT.clone(), &DESCRIPTORS, verifier, Routes::new(things.clone())).unwrap();
    House { app, clock, key, things }
}

impl House {
    /// How many calls reached the handler.
    pub fn executions(&self) -> usize {
        self.things.0.lock().unwrap().len()
    }

    /// The last call that reached the handler.
    pub fn last(&self) -> Option<Call> {
        self.things.0.lock().unwrap().last().cloned()
    }

    /// An access token of `usr_1` with these roles.
    pub fn token(&self, roles: &[&str]) -> String {
        let claims = json!({
            "iss": "https://auth.test", "sub": "usr_1", "aud": "agora", "exp": NOW + 600, "iat": NOW,
            "jti": "1", "client_id": "agora", "sid": "ses_1", "roles": roles,
        });
        let encode = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "k1" })), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).to_bytes());
        format!("{message}.{signature}")
    }

    /// Sends a request. Gives back the call that the handler saw, or why it was refused.
    pub async fn send(&self, request: Request<Body>) -> Result<Call, Refusal> {
        let before = self.executions();
        let Ok(reply) = self.app.clone().oneshot(request).await;
        let (head, body) = reply.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        let status = [&head.headers, &trailers].into_iter().find_map(Status::from_header_map);
        match status.unwrap() {
            status if status.code() == tonic::Code::Ok => {
                assert_eq!(self.executions(), before + 1);
                Ok(self.last().unwrap())
            }
            status => Err(Refusal(status)),
        }
    }
}

/// What a caller is told who is refused.
#[derive(Debug)]
pub struct Refusal(pub Status);

impl Refusal {
    pub fn reason(&self) -> String {
        Error::from(self.0.clone()).reason().to_owned()
    }

    /// The domain of its `google.rpc.ErrorInfo`.
    pub fn domain(&self) -> Option<String> {
        self.0.get_details_error_info().map(|info| info.domain)
    }
}

/// The certificates of a call that `workload` makes.
pub fn stated(workload: &str) -> String {
    format!("By=spiffe://agora.test/ns/default/sa/thing;URI=spiffe://agora.test/ns/default/sa/{workload}")
}

/// A gRPC frame around a message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A text or bytes field of a message.
pub fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number, &value.to_vec(), &mut bytes);
    bytes
}

/// A request with headers and a body, taken as it is.
pub fn request(rpc: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Body> {
    let mut request =
        Request::post(format!("http://thing/agora.thing.v1.Things/{rpc}")).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::new(Full::new(Bytes::from(body)))).unwrap()
}

/// A well-formed request that `edge` carries, with more headers.
pub fn asked(rpc: &str, headers: &[(&str, &str)], message: &[u8]) -> Request<Body> {
    let peer = stated("edge");
    let headers = [&[("x-forwarded-client-cert", peer.as_str())], headers].concat();
    request(rpc, &headers, frame(message))
}
