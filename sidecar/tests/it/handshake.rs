//! Nothing but a workload of this mesh gets a word in, and nothing but the dialed workload gets a word out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::Code;

use crate::{
    harness::{Leaf, Mesh, PATIENCE, TRUST_DOMAIN, call, call_with, echo, message, probe, request, uri},
    scripted::listen,
};

/// Spoils a certificate.
type Spoil = fn(&mut CertificateParams);

/// What may be wrong with a certificate of the right root.
fn flaws() -> Vec<(&'static str, Spoil)> {
    vec![
        ("another trust domain", |params| params.subject_alt_names = vec![uri("spiffe://other/ns/default/sa/order")]),
        ("two names", |params| {
            params.subject_alt_names.push(uri(&format!("spiffe://{TRUST_DOMAIN}/ns/default/sa/edge")));
        }),
        ("a DNS name besides", |params| {
            params.subject_alt_names.push(SanType::DnsName("order".try_into().unwrap()));
        }),
        ("no name", |params| params.subject_alt_names.clear()),
        ("a name of another form", |params| {
            params.subject_alt_names = vec![uri(&format!("spiffe://{TRUST_DOMAIN}/order"))];
        }),
        ("an authority", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("may sign others", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ("expired", |params| params.not_after = (std::time::SystemTime::now() - Duration::from_secs(5)).into()),
        ("not yet valid", |params| {
            params.not_before = (std::time::SystemTime::now() + Duration::from_secs(3600)).into()
        }),
        ("no use in TLS", |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
        }),
    ]
}

#[tokio::test]
async fn a_caller_needs_a_flawless_certificate_of_our_authority() {
    let mesh = Mesh::new();
    let address = mesh.serve("probe", echo()).await.address().to_string();
    let good = mesh.leaf("order", |_| {});
    assert_eq!(speak(&address, Some(good), false).await, Ok(200));

    for (flaw, change) in flaws() {
        let heard = speak(&address, Some(mesh.leaf("order", change)), false).await;
        assert!(heard.is_err(), "{flaw}: {heard:?}");
    }
    let stranger = Mesh::new().leaf("order", |_| {});
    assert!(speak(&address, Some(stranger), false).await.is_err(), "another authority");
    assert!(speak(&address, None, false).await.is_err(), "no certificate");
    let good = mesh.leaf("order", |_| {});
    assert!(speak(&address, Some(good), true).await.is_err(), "TLS 1.2");
}

#[tokio::test]
async fn plaintext_is_not_answered() {
    let mesh = Mesh::new();
    let address = mesh.serve("probe", echo()).await.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the connection stays open");
    // A TLS alert at most: record type 21.
    assert!(heard.is_empty() || heard[0] == 21, "{heard:?}");
}

#[tokio::test]
async fn headers_beyond_the_limit_fail_their_own_call_and_no_other() {
    let mesh = Mesh::new();
    mesh.serve("probe", echo()).await;
    let link = mesh.link("order").await;
    let huge = "x".repeat(100_000);
    let refused = call_with(&link, request(&probe("Read"), &[("x-huge", &huge)], Full::new(message("x")))).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{:?}", refused.status);
    assert_eq!(call(&link, &probe("Read")).await.code(), Code::Ok);
}

#[tokio::test]
async fn a_peer_that_answers_for_another_is_not_called() {
    let mesh = Mesh::new();
    let link = mesh.link("order").await;
    for (flaw, leaf) in flaws()
        .into_iter()
        .map(|(flaw, change)| (flaw, mesh.leaf("probe", change)))
        .chain([("another workload", mesh.leaf("ledger", |_| {})), ("a stranger", Mesh::new().leaf("probe", |_| {}))])
    {
        let greeted = Arc::new(AtomicUsize::new(0));
        let count = greeted.clone();
        let address = listen(leaf, move |_| {
            count.fetch_add(1, Relaxed);
        })
        .await;
        mesh.endpoints.set("probe", [address]);
        let reply = call(&link, &probe("Read")).await;
        assert_eq!(reply.code(), Code::Unavailable, "{flaw}");
        assert_eq!(greeted.load(Relaxed), 0, "{flaw}: the handshake went through");
    }
    mesh.endpoints.set("probe", []);
    mesh.serve("probe", echo()).await;
    assert_eq!(call(&link, &probe("Read")).await.code(), Code::Ok);
}

/// Makes one call with this certificate, whoever answers. Gives back the HTTP status, or what went wrong.
async fn speak(address: &str, leaf: Option<Leaf>, old: bool) -> Result<u16, String> {
    let versions = if old { [&TLS12] } else { [&TLS13] };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty());
    let mut config = match leaf {
        Some(leaf) => config.with_client_auth_cert(leaf.chain, leaf.key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.dangerous().set_certificate_verifier(Arc::new(Trusting));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("any.invalid").unwrap();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let request = Request::post(format!("https://probe{}", probe("Pay"))).body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).map_err(|error| error.to_string())?;
        body.send_data(Bytes::new(), true).map_err(|error| error.to_string())?;
        response.await.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("no answer".into()))
}

/// Trusts any server.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
