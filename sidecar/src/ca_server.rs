//! The certificate authority as a process of its own: `POST /sign/<workload>` over TLS 1.3, a join token as bearer, a
//! signing request (PKCS #10, DER) as body, the certificate as PEM in the reply.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::drain::Draining;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Error,
    ca::{AUTHORITY, Issued, LocalCa},
    identity::{Identity, Source},
    join::JoinTokens,
    tls,
};

/// Connections at once. Each lives for one certificate, so more would be an attack.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take from first to last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest signing request, in bytes. Ours have about 300.
const MAX_REQUEST: usize = 16 * 1024;
/// The longest headers that are read, in bytes.
const MAX_HEADERS: usize = 8 * 1024;

/// An authority that listens.
pub struct CaServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    desk: Arc<Desk>,
}

struct Desk {
    ca: Arc<LocalCa>,
    tokens: JoinTokens,
}

impl CaServer {
    /// Binds the authority's endpoint, with a certificate of its own root.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, ca: Arc<LocalCa>, tokens: JoinTokens) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Error::io(format!("cannot listen on {address}"), error))?;
        let identity = Identity::obtain(AUTHORITY, Source::Local(ca.clone())).await?;
        let acceptor = TlsAcceptor::from(Arc::new(tls::authority_config(&identity)?));
        Ok(Self { listener, acceptor, desk: Arc::new(Desk { ca, tokens }) })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| Error::io("the authority's listener", error))
    }

    /// Issues certificates until the process drains.
    pub async fn run(self, draining: Draining) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = draining.wait() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        tracing::warn!(%peer, "too many connections to the certificate authority");
                        continue;
                    };
                    let (acceptor, desk) = (self.acceptor.clone(), self.desk.clone());
                    tokio::spawn(async move {
                        if tokio::time::timeout(TIMEOUT, serve(stream, acceptor, desk)).await.is_err() {
                            tracing::debug!(%peer, "a joiner took too long");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the certificate authority cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a joiner's handshake failed");
            return;
        }
    };
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a joiner's connection broke");
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(workload) = request.uri().path().strip_prefix("/sign/").map(str::to_owned) else {
            return say(StatusCode::NOT_FOUND, "POST a signing request to /sign/<workload>");
        };
        if request.method() != Method::POST {
            return say(StatusCode::METHOD_NOT_ALLOWED, "POST a signing request");
        }
        let token =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if !self.tokens.admits(&workload, token.unwrap_or_default()) {
            tracing::warn!(workload, "a wrong join token");
            return say(StatusCode::FORBIDDEN, "this join token is not that of the workload it asks for");
        }
        let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST).collect().await else {
            return say(StatusCode::BAD_REQUEST, "the signing request is cut short or too long");
        };
        match self.ca.issue(&workload, &body.to_bytes()) {
            Ok(issued) => Response::new(Full::from(pem(&issued))),
            Err(Error::Refused(why)) => say(StatusCode::BAD_REQUEST, &why),
            Err(error) => {
                tracing::error!(%error, workload, "cannot issue a certificate");
                say(StatusCode::INTERNAL_SERVER_ERROR, "the authority is broken; see its log")
            }
        }
    }
}

fn say(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

/// The chain in PEM (RFC 7468).
fn pem(issued: &Issued) -> String {
    let mut text = String::new();
    for certificate in &issued.chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for start in (0..encoded.len()).step_by(64) {
            text.push_str(&encoded[start..encoded.len().min(start + 64)]);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
