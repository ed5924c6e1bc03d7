//! A peer with a valid certificate that does exactly what a script says, however rude.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use rustls::{ServerConfig, crypto::ring, version::TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::harness::{Leaf, Mesh, message};

/// What is done with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message and OK.
    Answer,
    /// REFUSED_STREAM, before the request is looked at.
    Refuse,
    /// The whole request is read, then the connection is gone.
    Cut,
    /// UNAVAILABLE in the headers of the reply.
    UnavailableAtOnce,
    /// UNAVAILABLE in the trailers, without a message.
    UnavailableInTrailers,
    /// A message, and then UNAVAILABLE.
    UnavailableAfterMessage,
    /// FAILED_PRECONDITION in the headers of the reply.
    RefuseByRule,
}

/// A scripted peer.
pub struct Scripted {
    executed: Arc<AtomicUsize>,
}

impl Scripted {
    /// How many requests it has read to the end, and so may have carried out.
    pub fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }

    /// Listens as `workload` and does `steps`, one for each request; the last is done for all that follow.
    pub async fn start(mesh: &Mesh, workload: &str, steps: &[Step]) -> Self {
        let steps = Arc::new(Mutex::new(VecDeque::from(steps.to_vec())));
        let executed = Arc::new(AtomicUsize::new(0));
        let (count, next) = (executed.clone(), steps);
        let address = listen(mesh.leaf(workload, |_| {}), move |stream| {
            tokio::spawn(serve(stream, next.clone(), count.clone()));
        })
        .await;
        mesh.add(workload, address);
        Self { executed }
    }

    /// Listens as `workload`; the first connection ends with a GOAWAY that says that not even the first request was
    /// looked at, all later ones answer.
    pub async fn that_goes_away(mesh: &Mesh, workload: &str) -> Self {
        let executed = Arc::new(AtomicUsize::new(0));
        let (count, first) = (executed.clone(), Arc::new(AtomicUsize::new(0)));
        let answers = Arc::new(Mutex::new(VecDeque::from([Step::Answer])));
        let address = listen(mesh.leaf(workload, |_| {}), move |stream| {
            if first.fetch_add(1, Ordering::SeqCst) == 0 {
                tokio::spawn(go_away(stream));
            } else {
                tokio::spawn(serve(stream, answers.clone(), count.clone()));
            }
        })
        .await;
        mesh.add(workload, address);
        Self { executed }
    }
}

/// Listens with a certificate and asks for none.
pub async fn listen(leaf: Leaf, on: impl Fn(TlsStream<TcpStream>) + Send + 'static) -> String {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain, leaf.key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                on(stream);
            }
        }
    });
    address
}

async fn serve(stream: TlsStream<TcpStream>, steps: Arc<Mutex<VecDeque<Step>>>, executed: Arc<AtomicUsize>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let cut = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = cut.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let step = {
            let mut steps = steps.lock().unwrap();
            if steps.len() > 1 { steps.pop_front().unwrap() } else { steps[0] }
        };
        tokio::spawn(carry_out(step, request, respond, executed.clone(), cut.clone()));
    }
}

async fn carry_out(
    step: Step,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    executed: Arc<AtomicUsize>,
    cut: Arc<Notify>,
) {
    if step == Step::Refuse {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    executed.fetch_add(1, Ordering::SeqCst);
    match step {
        Step::Refuse => unreachable!(),
        Step::Cut => cut.notify_one(),
        Step::UnavailableAtOnce => drop(respond.send_response(head(Some("14")), true).unwrap()),
        Step::RefuseByRule => drop(respond.send_response(head(Some("9")), true).unwrap()),
        Step::Answer | Step::UnavailableInTrailers | Step::UnavailableAfterMessage => {
            let mut stream = respond.send_response(head(None), false).unwrap();
            if step != Step::UnavailableInTrailers {
                stream.send_data(message("done"), false).unwrap();
            }
            let status = if step == Step::Answer { "0" } else { "14" };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    }
}

fn head(status: Option<&str>) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    if let Some(status) = status {
        response.headers_mut().insert("grpc-status", status.parse().unwrap());
    }
    response
}

/// Speaks just enough HTTP/2 (RFC 9113 §4.1) to say GOAWAY with last stream 0 once the request has arrived.
async fn go_away(mut stream: TlsStream<TcpStream>) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await.unwrap();
    // An empty SETTINGS frame.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut rest).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    // GOAWAY: last stream 0, NO_ERROR.
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    stream.shutdown().await.unwrap();
}
