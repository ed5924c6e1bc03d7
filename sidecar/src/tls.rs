//! TLS 1.3 with a certificate on both sides. The chain, its times and its signatures are verified by webpki; who the peer
//! is, by the SPIFFE rules of [`crate::spiffe`].
//!
//! No session is ever resumed: a ticket would outlive the certificate that it was given for.

use std::sync::{Arc, LazyLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use crate::{
    Error,
    identity::Identity,
    spiffe::{NotAWorkload, SpiffeId, holder},
};

/// HTTP/2 in the TLS handshake (RFC 9113 §3.3).
const H2: &[u8] = b"h2";

/// TLS 1.3 suites only. AES-128 first: as safe here as 256, and cheaper for each byte of every hop.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
});

/// What a listener of the mesh asks and shows: the peer needs a workload's certificate of our authority; ours is the
/// identity's current one, looked up at each handshake.
pub(crate) fn server_config(identity: &Identity) -> Result<ServerConfig, Error> {
    let chain = WebPkiClientVerifier::builder_with_provider(identity.roots(), PROVIDER.clone())
        .build()
        .map_err(|error| Error::Certificate(error.to_string()))?;
    let verifier = CallerVerifier { chain, trust_domain: identity.id().trust_domain().to_owned() };
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// How a workload is dialed: it must be exactly `wanted`, and we show our own certificate.
pub(crate) fn client_config(identity: &Identity, wanted: SpiffeId) -> Result<ClientConfig, Error> {
    let mut config = dial(identity.roots(), wanted)?.with_client_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// How the certificate authority is dialed by a workload that has no certificate yet.
pub(crate) fn joining_config(roots: Arc<RootCertStore>, authority: SpiffeId) -> Result<ClientConfig, Error> {
    let mut config = dial(roots, authority)?.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// What the certificate authority's endpoint shows. It asks for no certificate: whoever joins has none.
pub(crate) fn authority_config(identity: &Identity) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(identity.resolver());
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The name given to TLS. It means nothing: the peer is known by its SPIFFE id, and no name is sent.
pub(crate) fn server_name() -> ServerName<'static> {
    // A constant that is a valid DNS name.
    ServerName::try_from("workload.invalid").unwrap_or_else(|_| std::net::Ipv4Addr::LOCALHOST.into())
}

type Dialing = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// A client that speaks TLS 1.3 with `wanted` alone.
fn dial(roots: Arc<RootCertStore>, wanted: SpiffeId) -> Result<Dialing, Error> {
    Ok(ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DialedVerifier { roots, wanted })))
}

/// Admits a certificate that our authority signed for a workload of our trust domain.
#[derive(Debug)]
struct CallerVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let found = holder(leaf).map_err(refuse)?.id;
        if found.trust_domain() != self.trust_domain {
            let found = found.trust_domain().to_owned();
            return Err(refuse(NotAWorkload::TrustDomain { wanted: self.trust_domain.clone(), found }));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Admits a certificate that our authority signed for the one workload that was dialed.
#[derive(Debug)]
struct DialedVerifier {
    roots: Arc<RootCertStore>,
    wanted: SpiffeId,
}

impl ServerCertVerifier for DialedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = PROVIDER.signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms.all)?;
        let found = holder(leaf).map_err(refuse)?.id;
        if found != self.wanted {
            return Err(refuse(NotAWorkload::Other { wanted: self.wanted.clone(), found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

fn refuse(why: NotAWorkload) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

fn tls13_only() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}
