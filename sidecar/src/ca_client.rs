//! The way to a certificate authority in another process: one short connection for each certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    Error,
    ca::{AUTHORITY, Issued, read},
    join::read_token,
    spiffe::SpiffeId,
    tls,
};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest reply that is read, in bytes.
const MAX_REPLY: usize = 64 * 1024;

/// Asks an authority for certificates. Its root certificate is pinned: nobody else is believed to be the authority.
pub struct CaClient {
    address: String,
    trust_domain: String,
    roots: Arc<RootCertStore>,
    token_file: PathBuf,
    connector: TlsConnector,
}

impl CaClient {
    /// The authority at `address` (`host:port`), known by the root certificate in `root_file`. The token is read anew for
    /// each request, so it may be replaced.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn new(address: &str, trust_domain: &str, root_file: &Path, token_file: &Path) -> Result<Self, Error> {
        let pem = read(root_file)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate
                .map_err(|error| Error::Certificate(format!("{} cannot be read: {error}", root_file.display())))?;
            roots.add(certificate)?;
        }
        if roots.is_empty() {
            return Err(Error::Certificate(format!("{} has no certificate in it", root_file.display())));
        }
        read_token(token_file)?;
        let roots = Arc::new(roots);
        let config = tls::joining_config(roots.clone(), SpiffeId::new(trust_domain, AUTHORITY)?)?;
        Ok(Self {
            address: address.to_owned(),
            trust_domain: trust_domain.to_owned(),
            roots,
            token_file: token_file.to_owned(),
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// Has a signing request signed. [`Error::Io`] means that the authority was not reached, anything else its answer.
    pub(crate) async fn sign(&self, workload: &str, request: &[u8]) -> Result<Issued, Error> {
        let away = |error: std::io::Error| Error::io(format!("the certificate authority at {}", self.address), error);
        match tokio::time::timeout(TIMEOUT, self.exchange(workload, request)).await {
            Ok(reply) => reply,
            Err(_) => Err(away(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// What a failed handshake means: a peer that cannot prove that it is the authority will not be able to later either.
    fn unproven(&self, error: std::io::Error) -> Error {
        let what = format!("the certificate authority at {}", self.address);
        match error.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(why)) => Error::Certificate(format!(
                "{what} is not the one of trust domain `{}` whose root certificate was given: {why}",
                self.trust_domain
            )),
            _ => Error::io(what, error),
        }
    }

    async fn exchange(&self, workload: &str, request: &[u8]) -> Result<Issued, Error> {
        let away = |error: std::io::Error| Error::io(format!("the certificate authority at {}", self.address), error);
        let broken = |error: hyper::Error| away(std::io::Error::other(error));
        let token = read_token(&self.token_file)?;
        let stream = TcpStream::connect(&self.address).await.map_err(away)?;
        let stream = self.connector.connect(tls::server_name(), stream).await.map_err(|error| self.unproven(error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let request = http::Request::post(format!("/sign/{workload}"))
            .header(http::header::HOST, AUTHORITY)
            .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::copy_from_slice(request)))
            .map_err(|_| Error::Setting("the join token has characters that no token has".into()))?;
        let reply = sender.send_request(request).await.map_err(broken)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
        connection.abort();
        let body = body.map_err(|error| away(std::io::Error::other(error)))?.to_bytes();
        match status {
            http::StatusCode::OK => {
                let chain = CertificateDer::pem_slice_iter(&body).collect::<Result<Vec<_>, _>>();
                Ok(Issued { chain: chain.map_err(|error| Error::Certificate(error.to_string()))? })
            }
            status if status.is_server_error() => Err(away(std::io::Error::other(format!("answered {status}")))),
            _ => Err(Error::Refused(String::from_utf8_lossy(&body).trim().to_owned())),
        }
    }
}
