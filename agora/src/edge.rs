//! The edge of this platform: the generic gateway over our contract, with our pages.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use edge_gateway::{Config, Edge, Pages};
use kit::{drain::Draining, link::Link, telemetry};
use tokio::net::TcpListener;

use crate::{banner, demo::PEOPLE, host::Host, settings::EdgeSettings};

/// Takes the port.
///
/// # Errors
/// If it is in use.
pub async fn bind(settings: &EdgeSettings) -> Result<TcpListener> {
    let address = SocketAddr::new(settings.host, settings.port);
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be bound, perhaps because another program uses it; choose another with --port")
    })
}

/// Serves callers on `listener`, calling services by `way_out`. The edge drains first: when `front` starts, callers are
/// let finish, and only then does the rest of the process drain, which they still need. Gives the address.
///
/// # Errors
/// If the contract has routes that contradict each other.
pub fn serve(
    host: &mut Host,
    front: Draining,
    listener: TcpListener,
    way_out: Link,
    settings: &EdgeSettings,
) -> Result<SocketAddr> {
    let address = listener.local_addr()?;
    let config = Config {
        body_max: settings.body_max,
        rate_limited: settings.rate_limits,
        pages: pages(host, address),
        ..Config::default()
    };
    let edge = Edge::new(host.contract.clone(), way_out, host.verifier.clone(), config)?;
    host.spawn(edge.health().follow(host.ready(), front.clone()));
    let (drain, limit) = (host.drain.clone(), host.platform.lifetimes.drain_limit);
    host.spawn(async move {
        let serving = edge.serve(listener, {
            let front = front.clone();
            async move { front.wait().await }
        });
        let too_long = async {
            front.wait().await;
            tokio::time::sleep(limit / 2).await;
        };
        tokio::select! {
            () = serving => {}
            () = too_long => tracing::warn!("callers are still busy; the services drain now"),
        }
        drain.start();
    });
    Ok(address)
}

fn pages(host: &Host, address: SocketAddr) -> Pages {
    let (verifier, ready) = (host.verifier.clone(), host.ready());
    Pages {
        title: "Agora".to_owned(),
        description: "An order-processing and trading platform over typed contracts.".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        welcome: welcome(host.platform.demo(), address),
        jwks: Arc::new(move || verifier.jwks()),
        metrics: Arc::new(telemetry::render),
        not_ready: Arc::new(move || (!ready()).then(|| "auth has told no signing key yet".to_owned())),
    }
}

fn welcome(demo: bool, address: SocketAddr) -> String {
    let mut lines = Vec::new();
    if demo {
        lines.push("Demo logins:".to_owned());
        lines.extend(PEOPLE.iter().map(|person| format!("  {:<24} {}", person.email, person.password)));
        lines.push(String::new());
    }
    lines.push("Try:".to_owned());
    let calls = banner::examples(&format!("http://{address}"), &address.to_string(), demo);
    lines.extend(calls.into_iter().map(|call| format!("  {call}")));
    lines.join("\n")
}
