//! A mesh in one process: an authority, sidecars on loopback, applications that are closures.

use std::{
    fs,
    future::Future,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use kit::{
    Body,
    contract::Contract,
    drain::{Drain, Draining},
    link::Link,
};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sidecar::{Config, DEFAULT_LIFETIME, Endpoints, Identity, LocalCa, Metrics, Running, Sidecar, Source};
use tempfile::TempDir;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

/// The trust domain of every test.
pub const TRUST_DOMAIN: &str = "test.mesh";
/// How long a test waits for something before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("tests/it"), here.join("../proto"), here.join("../third_party/proto")];
    let mut compiler = protox::Compiler::new(folders).unwrap();
    compiler.include_imports(true).open_file("middle.proto").unwrap();
    Arc::new(Contract::parse(&compiler.encode_file_descriptor_set()).unwrap())
});

/// The contract of `probe.proto` and `middle.proto`.
pub fn contract() -> Arc<Contract> {
    CONTRACT.clone()
}

/// A path of the probe's service.
pub fn probe(method: &str) -> String {
    format!("/agora.probe.v1.ProbeService/{method}")
}

/// An authority and what all its workloads share.
pub struct Mesh {
    pub folder: TempDir,
    pub ca: Arc<LocalCa>,
    pub endpoints: Endpoints,
    pub metrics: Metrics,
    pub drain: Drain,
    pub draining: Draining,
}

impl Mesh {
    pub fn new() -> Self {
        Self::with_lifetime(DEFAULT_LIFETIME)
    }

    /// A mesh whose certificates live for `lifetime`.
    pub fn with_lifetime(lifetime: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Arc::new(LocalCa::open(folder.path(), TRUST_DOMAIN, lifetime).unwrap());
        let (drain, draining) = Drain::new();
        Self { folder, ca, endpoints: Endpoints::new(), metrics: Metrics::new(), drain, draining }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), self.endpoints.clone());
        config.metrics = self.metrics.clone();
        config
    }

    pub async fn identity(&self, workload: &str) -> Identity {
        Identity::obtain(workload, Source::Local(self.ca.clone())).await.unwrap()
    }

    pub async fn sidecar(&self, workload: &str) -> Sidecar {
        Sidecar::new(self.config(), self.identity(workload).await, contract()).unwrap()
    }

    /// The way to the others for `workload`.
    pub async fn link(&self, workload: &str) -> Link {
        self.sidecar(workload).await.outbound().link()
    }

    /// Serves an application as one more endpoint of `workload`.
    pub async fn serve(&self, workload: &str, app: Link) -> Running {
        self.serve_until(workload, app, self.draining.clone()).await
    }

    pub async fn serve_until(&self, workload: &str, app: Link, draining: Draining) -> Running {
        let running = self.sidecar(workload).await.serve(app, draining).await.unwrap();
        self.add(workload, running.address().to_string());
        running
    }

    /// Adds an endpoint of `workload`.
    pub fn add(&self, workload: &str, address: String) {
        let known = self.endpoints.get(workload);
        self.endpoints.set(workload, known.iter().cloned().chain([address]));
    }

    /// A certificate of this mesh's root, with whatever `change` makes of it.
    pub fn leaf(&self, workload: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap();
        let root = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), root).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(&format!("spiffe://{TRUST_DOMAIN}/ns/default/sa/{workload}"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let chain = vec![params.signed_by(&key, &issuer).unwrap().der().clone()];
        Leaf { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

/// A certificate and its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// A URI as a name in a certificate.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// An application.
pub fn app<F, R>(answer: F) -> Link
where
    F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    Link::new(tower::service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    }))
}

/// An application that sends back what it is sent.
pub fn echo() -> Link {
    app(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        answer(body)
    })
}

/// A reply with this body and the status OK.
pub fn answer(body: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Ok::<_, Status>(Frame::data(body)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(Body::new(StreamBody::new(tokio_iter(frames))));
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

fn tokio_iter<T>(items: impl IntoIterator<Item = T>) -> impl futures::Stream<Item = T> {
    futures::stream::iter(items.into_iter().collect::<Vec<_>>())
}

/// A gRPC message whose bytes are `text` as field 1.
pub fn message(text: &str) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(text.len() as u32 + 2);
    message.put_slice(&[0x0a, text.len() as u8]);
    message.put_slice(text.as_bytes());
    message.freeze()
}

/// What a caller got.
#[derive(Debug)]
pub struct Reply {
    pub body: Bytes,
    pub status: Status,
}

impl Reply {
    pub fn code(&self) -> Code {
        self.status.code()
    }
}

/// A unary call.
pub async fn call(link: &Link, path: &str) -> Reply {
    call_with(link, request(path, &[], Full::new(message("x")))).await
}

pub fn request<B>(path: &str, headers: &[(&'static str, &str)], body: B) -> Request<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::new(body)).unwrap()
}

pub async fn call_with(link: &Link, request: Request<Body>) -> Reply {
    let response = link.clone().ready().await.unwrap().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await.expect("the reply never ends").unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&head.headers));
    Reply { body: collected.to_bytes(), status: status.expect("a status") }
}

/// Polls until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
