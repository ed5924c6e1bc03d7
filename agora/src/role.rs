//! `agora <role>`: one service, the edge or the certificate authority in a process of its own, as a pod would run it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use kit::{Clock, drain::Drain, link::Link};
use sidecar::{CaClient, CaServer, Config, Endpoints, Identity, JoinTokens, LocalCa, Sidecar, Source, token_path};

use crate::{
    admin, edge,
    host::Host,
    ports,
    services::{SERVICES, Service},
    settings::{EdgeSettings, Mesh, Platform, TRUST_DOMAIN},
};

/// How long a role waits for the certificate authority to come up.
const AUTHORITY_PATIENCE: Duration = Duration::from_secs(30);

/// What a service of its own can be told.
#[derive(Args, Clone, Debug)]
pub struct Role {
    // The settings of the platform.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub platform: Platform,
    // Where the others are.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub mesh: Mesh,
}

/// What an edge of its own can be told.
#[derive(Args, Clone, Debug)]
pub struct EdgeRole {
    // What every role can be told.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub role: Role,
    // The settings of the edge.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub edge: EdgeSettings,
}

/// What the certificate authority can be told.
#[derive(Args, Clone, Debug)]
pub struct CaRole {
    // The settings of the platform.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub platform: Platform,
    /// Where it listens
    #[arg(long, env = "AGORA_CA", default_value_t = format!("127.0.0.1:{}", ports::CA), value_name = "ADDRESS")]
    pub ca: String,
    /// Where it keeps its key, its certificate and the join tokens [default: `<data-dir>/ca`]
    #[arg(long, env = "AGORA_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<std::path::PathBuf>,
}

/// Runs one service behind its sidecar until it is asked to end.
///
/// # Errors
/// One sentence for the person who started it.
pub async fn run(service: &'static Service, role: Role) -> Result<()> {
    let mut host = host(&role)?;
    let sidecar = join(&host, service.name, &role).await?;
    let way_out = sidecar.outbound().link();
    let app = host.start(service, &way_out).await?;
    let running = sidecar.serve(Link::local(app), host.draining()).await?;
    let inbound = running.address();
    host.spawn(running.finished());
    host.follow_auth(service.name, way_out);
    let drain = host.drain.clone();
    up(host, drain, service.name, &role, &format!("sidecar {inbound}")).await
}

/// Runs the edge until it is asked to end.
///
/// # Errors
/// One sentence for the person who started it.
pub async fn run_edge(settings: EdgeRole) -> Result<()> {
    let role = settings.role;
    let mut host = host(&role)?;
    let listener = edge::bind(&settings.edge).await?;
    let sidecar = join(&host, "edge", &role).await?;
    let way_out = sidecar.outbound().link();
    host.follow_auth("edge", way_out.clone());
    let (front, draining) = Drain::new();
    let address = edge::serve(&mut host, draining, listener, way_out, &settings.edge)?;
    up(host, front, "edge", &role, &format!("http://{address}")).await
}

/// Runs the certificate authority until it is asked to end.
///
/// # Errors
/// One sentence for the person who started it.
pub async fn run_ca(settings: CaRole) -> Result<()> {
    settings.platform.check().finish()?;
    let folder = settings.ca_dir.unwrap_or_else(|| settings.platform.data_dir.join("ca"));
    let workloads: Vec<&str> = SERVICES.iter().map(|service| service.name).chain(["edge"]).collect();
    let lifetime = settings.platform.lifetimes.certificate_lifetime;
    let authority = Arc::new(LocalCa::open(&folder, TRUST_DOMAIN, lifetime)?);
    let tokens = JoinTokens::open(&folder, TRUST_DOMAIN, &workloads)?;
    let address = settings.ca.parse().with_context(|| format!("--ca: `{}` is not HOST:PORT", settings.ca))?;
    let server = CaServer::bind(address, authority, tokens).await?;
    let (drain, draining) = Drain::new();
    kit::drain::on_signal(drain)?;
    eprintln!("ca is ready: {}, join tokens in {}", server.address()?, folder.display());
    server.run(draining).await;
    Ok(())
}

fn host(role: &Role) -> Result<Host> {
    role.platform.check().finish()?;
    Host::new(role.platform.clone(), Clock::system())
}

/// Waits for the files of an authority that is started at the same time as we are.
async fn wait_for(files: &[&Path]) -> Result<()> {
    let deadline = Instant::now() + AUTHORITY_PATIENCE;
    for file in files {
        if !file.exists() {
            eprintln!(
                "waiting for {}, which `agora ca` makes: start it, or say with --ca-dir where its folder is",
                file.display()
            );
        }
        while !file.exists() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} is still not there: start `agora ca` first, or say with --ca-dir where its folder is",
                file.display()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Obtains the identity of `workload` and prepares its sidecar.
async fn join(host: &Host, workload: &str, role: &Role) -> Result<Sidecar> {
    let folder = role.mesh.ca_dir.clone().unwrap_or_else(|| role.platform.data_dir.join("ca"));
    let (root, token) = (folder.join("ca.pem"), token_path(&folder, workload));
    wait_for(&[&root, &token]).await?;
    let client = CaClient::new(&role.mesh.ca, TRUST_DOMAIN, &root, &token)?;
    let identity = Identity::obtain(workload, Source::Remote(Arc::new(client))).await?;
    let endpoints = Endpoints::new();
    for service in SERVICES {
        let told: Vec<String> = role
            .mesh
            .endpoints
            .iter()
            .filter(|(name, _)| name == service.name)
            .map(|(_, address)| address.clone())
            .collect();
        let usual = || vec![ports::inbound(service.name).to_string()];
        endpoints.set(service.name, if told.is_empty() { usual() } else { told });
    }
    let inbound = role.mesh.inbound.unwrap_or_else(|| ports::inbound(workload));
    let drain_limit = host.platform.lifetimes.drain_limit;
    let config = Config { drain_limit, ..Config::new(inbound, endpoints) };
    Ok(Sidecar::new(config, identity, host.contract.clone())?)
}

/// Runs until `drain`, which a signal starts, has been carried out.
async fn up(host: Host, drain: Drain, workload: &str, role: &Role, place: &str) -> Result<()> {
    kit::drain::on_signal(drain)?;
    let address = role.mesh.admin.unwrap_or_else(|| ports::admin(workload));
    let admin = admin::serve(address, host.ready(), host.draining()).await?;
    eprintln!("{workload} is up: {place}, health and metrics http://{admin}");
    host.run_until_drained().await
}
