//! A connection to the inbound sidecar of another workload: TCP, TLS with both certificates, HTTP/2.

use std::{sync::Arc, time::Duration};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use crate::{Error, identity::Identity, meters::Meters, payload::Payload, spiffe::SpiffeId, tls};

/// How long TCP and TLS may take together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// What a peer may send before we have read it: large, so that one bulk reply is not bound by the round trip.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all calls of a connection together.
pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The longest headers that are read, in bytes.
pub(crate) const MAX_HEADERS: u32 = 32 * 1024;
/// How much of a stream is buffered for sending, in bytes.
pub(crate) const SEND_BUFFER: usize = 256 * 1024;
/// A peer that is silent for this long is asked whether it lives, and given this long to answer.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Knows how to dial one workload.
pub(crate) struct Dialer {
    pub(crate) workload: String,
    identity: Identity,
    tls: TlsConnector,
    http: Builder<TokioExecutor>,
    max_age: Duration,
    meters: Arc<Meters>,
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Payload>,
    /// Which certificate of ours it was opened with.
    certificate: u64,
    replace_at: Instant,
}

impl Dialer {
    pub(crate) fn new(
        workload: &str,
        identity: &Identity,
        max_age: Duration,
        meters: Arc<Meters>,
    ) -> Result<Self, Error> {
        let wanted = SpiffeId::new(identity.id().trust_domain(), workload)?;
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        Ok(Self {
            workload: workload.to_owned(),
            tls: TlsConnector::from(Arc::new(tls::client_config(identity, wanted)?)),
            identity: identity.clone(),
            http,
            max_age,
            meters,
        })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// What happened, in words.
    pub(crate) async fn dial(&self, address: &str) -> Result<Connection, String> {
        let certificate = self.identity.renewals();
        let failed = |error: &dyn std::fmt::Display| format!("cannot connect to {address}: {error}");
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            let stream = self.tls.connect(tls::server_name(), stream).await.map_err(|error| failed(&error))?;
            self.http.handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))
        };
        let (sender, connection) =
            tokio::time::timeout(DIAL_TIMEOUT, opening).await.map_err(|_| failed(&"no answer in time"))??;
        let open = self.meters.outbound_connection();
        let workload = self.workload.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, workload, "a connection broke");
            }
            drop(open);
        });
        // Not all in the same second.
        let age = self.max_age.mul_f64(rand::rng().random_range(0.8..=1.0));
        Ok(Connection { sender, certificate, replace_at: Instant::now() + age })
    }

    /// Whether a connection should give way to a new one: it is old, or our certificate was renewed since.
    pub(crate) fn is_stale(&self, connection: &Connection) -> bool {
        connection.certificate != self.identity.renewals() || Instant::now() >= connection.replace_at
    }
}
