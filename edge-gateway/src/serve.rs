//! Connections: HTTP/1.1 and HTTP/2 (with prior knowledge) on one listener, within limits.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use kit::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{front::Edge, linger::Lingering};

/// How long open requests may take to end once the edge drains.
const DRAIN: Duration = Duration::from_secs(10);

impl Edge {
    /// Serves `listener` until `drain` is done, then lets open requests end and closes their connections.
    pub async fn serve(self, listener: TcpListener, drain: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.0.config.connections_max));
        let graceful = GracefulShutdown::new();
        tokio::pin!(drain);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &places) => accepted,
                () = &mut drain => break,
            };
            let (stream, client, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: wait for connections to end.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let connection = graceful.watch(self.connection(stream, client));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %client, "a connection broke");
                }
                drop(place);
            });
        }
        drop(listener);
        self.0.draining.send_replace(true);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were still busy at the end of the drain");
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
    ) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + use<>
    {
        let config = &self.0.config;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.head_timeout)
            .max_buf_size(config.head_max.max(8192))
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.streams_max)
            .max_header_list_size(u32::try_from(config.head_max).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let edge = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let edge = edge.clone();
            // HTTP/2 resets one stream and goes on, so only HTTP/1 needs a body that lingers.
            let lingers = request.version() < Version::HTTP_2;
            let body = |body| if lingers { Body::new(Lingering::new(body)) } else { Body::new(body) };
            let request = request.map(body);
            // Boxed, since it is large and hyper moves it on.
            Box::pin(async move { Ok::<_, Infallible>(edge.answer(request, client.ip()).await) })
        });
        let _ = stream.set_nodelay(true);
        builder.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // A place first, so that whoever cannot be served waits in the kernel's queue.
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    Ok((stream, client, place))
}
