//! The way in: a TCP listener that speaks TLS 1.3 with workloads of the mesh and with nobody else, asks the contract
//! whether this peer may make this call, says who it is, and passes the call to the application.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kit::{
    Body,
    contract::Contract,
    drain::{Draining, InFlight},
    link::{Link, XFCC},
};
use rand::Rng;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::Code;
use tower::ServiceExt;

use crate::{
    Config, Error,
    authorize::{authorize, is_infrastructure},
    connection::{CONNECTION_WINDOW, KEEP_ALIVE, MAX_HEADERS, SEND_BUFFER, STREAM_WINDOW},
    endpoint::MAX_STREAMS,
    identity::Identity,
    meters::Meters,
    reply,
    spiffe::{Holder, holder},
    tls,
};

/// Connections at once.
const MAX_CONNECTIONS: u32 = 1024;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that a peer opened and reset before they were looked at; more is an attack (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 64;
/// Streams that we reset because the peer broke the protocol; more is an attack.
const MAX_ERROR_RESETS: usize = 256;

/// The inbound half of a sidecar.
pub(crate) struct Inbound {
    listener: TcpListener,
    desk: Arc<Desk>,
    /// A drain waits for it.
    _in_flight: InFlight,
}

/// What every connection needs.
struct Desk {
    identity: Identity,
    contract: Arc<Contract>,
    app: Link,
    edge: String,
    acceptor: TlsAcceptor,
    http: Builder<TokioExecutor>,
    max_age: Duration,
    drain_limit: Duration,
    draining: Draining,
    meters: Arc<Meters>,
}

impl Inbound {
    pub(crate) async fn bind(
        config: &Config,
        identity: &Identity,
        contract: Arc<Contract>,
        app: Link,
        draining: Draining,
        meters: Arc<Meters>,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(config.inbound)
            .await
            .map_err(|error| Error::io(format!("cannot listen on {}", config.inbound), error))?;
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(u32::try_from(2 * MAX_STREAMS).unwrap_or(u32::MAX))
            .max_header_list_size(MAX_HEADERS)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let in_flight = draining.in_flight();
        let desk = Desk {
            identity: identity.clone(),
            contract,
            app,
            edge: config.edge.clone(),
            acceptor: TlsAcceptor::from(Arc::new(tls::server_config(identity)?)),
            http,
            max_age: config.max_connection_age,
            drain_limit: config.drain_limit,
            draining,
            meters,
        };
        Ok(Self { listener, desk: Arc::new(desk), _in_flight: in_flight })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| Error::io("the inbound listener", error))
    }

    /// Serves until the process drains and the last call has ended, or the limit for that is over.
    pub(crate) async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.desk.draining.wait() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        tracing::warn!(%peer, "too many connections");
                        continue;
                    };
                    let desk = self.desk.clone();
                    tokio::spawn(async move {
                        desk.meet(stream, peer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        // Every place is free again when the last connection has ended; each limits its own end.
        let _ = places.acquire_many(MAX_CONNECTIONS).await;
    }
}

impl Desk {
    /// Shakes hands and serves, if the peer is a workload of the mesh.
    async fn meet(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await;
        let why = match shaken {
            Ok(Ok(stream)) => match caller(&stream) {
                Some(caller) => return self.serve(stream, caller).await,
                None => "no certificate".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "too slow".to_owned(),
        };
        self.meters.handshakes_failed.inc();
        tracing::warn!(%peer, why, "refused a connection: not a workload of this mesh");
    }

    /// Serves one peer until it leaves, the connection has its age, or the process drains; then lets its calls finish.
    async fn serve(self: Arc<Self>, stream: TlsStream<TcpStream>, caller: Holder) {
        let open = self.meters.inbound_connection();
        let age = self.age(caller.not_after);
        let (by, uri) = (self.identity.id(), &caller.id);
        // SPIFFE ids have no character that would need quotes.
        let Ok(forwarded) = HeaderValue::try_from(format!("By={by};URI={uri}")) else { return };
        let service = service_fn(|request: Request<Incoming>| {
            let (desk, forwarded) = (self.clone(), forwarded.clone());
            let answer = desk.check(&request, caller.id.workload());
            async move {
                Ok::<_, Infallible>(match answer {
                    Ok(()) => desk.pass(request, forwarded).await,
                    Err(refusal) => *refusal,
                })
            }
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = caller.id.workload(), "a connection broke");
                }
                return;
            }
            () = self.draining.wait() => {}
            () = tokio::time::sleep(age) => {}
        }
        // Tells the peer that calls which it sends from now on are not looked at: it makes them elsewhere.
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(self.drain_limit, connection).await;
        drop(open);
    }

    /// How old a connection may become: so old as configured, but never older than the certificates on both sides.
    fn age(&self, peer_not_after: SystemTime) -> Duration {
        let ends = peer_not_after.min(self.identity.not_after());
        let valid = ends.duration_since(SystemTime::now()).unwrap_or_default();
        // A random part, so that not all connections end at once.
        self.max_age.min(valid).mul_f64(rand::rng().random_range(0.8..=0.95))
    }

    /// Whether this peer may make this call.
    fn check(&self, request: &Request<Incoming>, peer: &str) -> Result<(), Box<Response<Body>>> {
        let path = request.uri().path();
        if is_infrastructure(path) {
            return Ok(());
        }
        let Some(method) = self.contract.method(path) else {
            let message = format!("The contract has no RPC `{path}`.");
            let status = reply::status(Code::Unimplemented, "ROUTE_NOT_FOUND", message, &[("method", path)]);
            return Err(Box::new(reply::response(status)));
        };
        let has_user_token = request.headers().contains_key(http::header::AUTHORIZATION);
        let decision = authorize(method, peer, &self.edge, has_user_token);
        if decision.allow {
            self.meters.accepted.inc();
            return Ok(());
        }
        self.meters.refused.inc();
        tracing::warn!(peer, method = path, why = decision.why, "refused a call");
        let status = reply::status(
            Code::PermissionDenied,
            "SERVICE_ONLY",
            format!("`{peer}` may not call `{path}`: {}.", decision.why),
            &[("peer", peer), ("method", path)],
        );
        Err(Box::new(reply::response(status)))
    }

    /// Passes a call on, with the peer's identity in place of whatever the peer itself said.
    async fn pass(&self, request: Request<Incoming>, forwarded: HeaderValue) -> Response<Body> {
        let mut request = request.map(Body::new);
        // Replaces every value that was sent. The hop-by-hop headers of HTTP/1 cannot be here: HTTP/2 has none.
        request.headers_mut().insert(XFCC, forwarded);
        match self.app.clone().oneshot(request).await {
            Ok(response) => response,
            Err(error) => {
                let workload = self.identity.id().workload();
                tracing::warn!(%error, workload, "the application behind this sidecar cannot be reached");
                reply::response(reply::unavailable(workload, "", "its sidecar cannot reach it"))
            }
        }
    }
}

fn caller(stream: &TlsStream<TcpStream>) -> Option<Holder> {
    let (_, session) = stream.get_ref();
    holder(session.peer_certificates()?.first()?).ok()
}
