//! `agora up`: the whole platform in one process. Each service still sits behind a sidecar of its own, as pods would,
//! unless `--direct` takes the hop away.

use std::{
    cell::Cell,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use kit::{Clock, drain::Drain, link::Link};
use sidecar::{Config, Endpoints, Identity, LocalCa, Sidecar, Source};

use crate::{
    banner::Banner,
    direct::Network,
    edge,
    host::Host,
    services::SERVICES,
    settings::{EdgeSettings, Platform, TRUST_DOMAIN},
};

/// How long the first start may take until tokens can be verified.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What `agora up` can be told.
#[derive(Args, Clone, Debug)]
pub struct Up {
    // The settings of the platform.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub platform: Platform,
    // The settings of the edge.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub edge: EdgeSettings,
    /// Keep nothing: use a data folder that goes when the process ends, whatever `--data-dir` says
    #[arg(long, env = "AGORA_EPHEMERAL")]
    pub ephemeral: bool,
    /// Call services in memory, without sidecars
    #[arg(long, env = "AGORA_DIRECT")]
    pub direct: bool,
    /// How to print what is running
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// How `agora up` prints what is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table of URLs, logins and example calls.
    Text,
    /// The same as one line of JSON.
    Json,
}

/// A platform that is up.
pub struct Running {
    /// The process.
    pub host: Host,
    /// Ends it: the edge first, then what stands behind it.
    pub front: Drain,
    /// Where callers reach it.
    pub address: SocketAddr,
    /// Where the sidecars listen, by workload; empty with `--direct`.
    pub sidecars: Vec<(String, SocketAddr)>,
}

/// Runs the platform until it is asked to end.
///
/// # Errors
/// One sentence: a broken setting, a port in use, a database of a newer version.
pub async fn run(mut up: Up) -> Result<()> {
    let started = Instant::now();
    let folder = up.ephemeral.then(private_folder).transpose().context("no folder for ephemeral data")?;
    if let Some(folder) = &folder {
        up.platform.data_dir = folder.path().to_owned();
    }
    let banner = Banner::new(&up);
    let first = Cell::new(true);
    let running = start(&up, Clock::system(), |step| banner.step(step, first.replace(false))).await?;
    kit::drain::on_signal(running.front.clone())?;
    banner.ready(&running, started.elapsed());
    let (draining, ending) = (running.front.draining(), banner.clone());
    tokio::spawn(async move {
        draining.wait().await;
        ending.ending();
    });
    running.host.run_until_drained().await?;
    banner.ended();
    Ok(())
}

/// A folder that goes with the process, and that only its owner can read.
fn private_folder() -> std::io::Result<tempfile::TempDir> {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix("agora").permissions(private).tempdir()
}

/// Starts the platform, telling `step` what it does.
///
/// # Errors
/// One sentence: a broken setting, a port in use, a database of a newer version.
pub async fn start(up: &Up, clock: Clock, step: impl Fn(&str)) -> Result<Running> {
    up.platform.check_all().finish()?;
    // The port first: whoever finds it taken should not wait for anything else.
    let listener = edge::bind(&up.edge).await?;
    let mut host = Host::new(up.platform.clone(), clock)?;
    host.hold_data_folder()?;
    let (way_out, sidecars) = if up.direct {
        (start_direct(&mut host, &step).await?, Vec::new())
    } else {
        start_meshed(&mut host, &step).await?
    };
    host.follow_auth("edge", way_out.clone());
    host.wait_ready(READY_LIMIT).await?;
    let (front, draining) = Drain::new();
    let address = edge::serve(&mut host, draining, listener, way_out, &up.edge)?;
    Ok(Running { host, front, address, sidecars })
}

async fn start_direct(host: &mut Host, step: &impl Fn(&str)) -> Result<Link> {
    let network = Network::new(host.contract.clone());
    for service in SERVICES {
        step(service.name);
        let app = host.start(service, &network.way_out(service.name)).await?;
        network.join(app);
    }
    Ok(network.way_out("edge"))
}

async fn start_meshed(host: &mut Host, step: &impl Fn(&str)) -> Result<(Link, Vec<(String, SocketAddr)>)> {
    let authority = LocalCa::new(TRUST_DOMAIN, host.platform.lifetimes.certificate_lifetime)?;
    let source = Source::Local(Arc::new(authority));
    let endpoints = Endpoints::new();
    let mut sidecars = Vec::new();
    for service in SERVICES {
        step(service.name);
        let sidecar = sidecar(host, service.name, &source, &endpoints).await?;
        let app = host.start(service, &sidecar.outbound().link()).await?;
        let running = sidecar.serve(Link::local(app), host.draining()).await?;
        endpoints.set(service.name, [running.address().to_string()]);
        sidecars.push((service.name.to_owned(), running.address()));
        host.spawn(running.finished());
    }
    let edge = sidecar(host, "edge", &source, &endpoints).await?;
    Ok((edge.outbound().link(), sidecars))
}

async fn sidecar(host: &Host, workload: &str, source: &Source, endpoints: &Endpoints) -> Result<Sidecar> {
    let identity = Identity::obtain(workload, source.clone()).await?;
    let inbound = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let drain_limit = host.platform.lifetimes.drain_limit;
    let config = Config { drain_limit, ..Config::new(inbound, endpoints.clone()) };
    Ok(Sidecar::new(config, identity, host.contract.clone())?)
}
