//! Both halves together.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use kit::{
    contract::{Contract, Method},
    drain::Draining,
    link::Link,
};
use tokio::task::JoinHandle;

use crate::{Endpoints, Error, Metrics, identity::Identity, inbound::Inbound, meters::Meters, outbound::Outbound};

/// What a sidecar has to be told.
#[derive(Clone)]
pub struct Config {
    /// Where others reach this workload.
    pub inbound: SocketAddr,
    /// The workload that carries users' calls: `edge`.
    pub edge: String,
    /// Where the others are.
    pub endpoints: Endpoints,
    /// Contexts of the contract that another workload serves than the one of their name.
    pub workloads: HashMap<String, String>,
    /// The longest that a unary call may take if neither the caller nor the contract says less: 30 s.
    pub default_timeout: Duration,
    /// How long a connection is used before a new one takes its place: an hour.
    pub max_connection_age: Duration,
    /// How long calls may take to finish on a connection that is being closed: 20 s.
    pub drain_limit: Duration,
    /// Where everything is counted: with what the process shows.
    pub metrics: Metrics,
}

impl Config {
    /// The usual settings.
    pub fn new(inbound: SocketAddr, endpoints: Endpoints) -> Self {
        Self {
            inbound,
            edge: "edge".into(),
            endpoints,
            workloads: HashMap::new(),
            default_timeout: Duration::from_secs(30),
            max_connection_age: Duration::from_secs(60 * 60),
            drain_limit: Duration::from_secs(20),
            metrics: Metrics::of_process(),
        }
    }

    /// The workload that serves an RPC.
    pub fn workload_of<'a>(&'a self, method: &'a Method) -> &'a str {
        self.workloads.get(&method.context).unwrap_or(&method.context)
    }

    /// The longest that a call of an RPC may take. A stream has no such limit.
    pub(crate) fn limit_of(&self, method: &Method) -> Option<Duration> {
        let unary = !method.client_streaming && !method.server_streaming;
        unary.then(|| method.policy.timeout.unwrap_or(self.default_timeout))
    }
}

/// A workload's sidecar. The way out works from the start; the way in when there is an application to pass calls to.
pub struct Sidecar {
    config: Config,
    identity: Identity,
    contract: Arc<Contract>,
    outbound: Outbound,
    meters: Arc<Meters>,
}

/// A sidecar that is served.
pub struct Running {
    address: SocketAddr,
    inbound: JoinHandle<()>,
}

impl Sidecar {
    /// The sidecar of the workload that `identity` names.
    ///
    /// # Errors
    /// If a workload of the contract has a name that no identity can have.
    pub fn new(config: Config, identity: Identity, contract: Arc<Contract>) -> Result<Self, Error> {
        let meters = Arc::new(config.metrics.of(identity.id().workload()));
        let outbound = Outbound::new(&config, &identity, &contract, &meters)?;
        Ok(Self { config, identity, contract, outbound, meters })
    }

    /// The way to the others.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Serves `app` to the others, until the process drains: then it accepts no more, tells its peers, and lets calls
    /// finish. The way out goes on meanwhile, since those calls may need it.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn serve(&self, app: Link, draining: Draining) -> Result<Running, Error> {
        let inbound = Inbound::bind(
            &self.config,
            &self.identity,
            self.contract.clone(),
            app,
            draining.clone(),
            self.meters.clone(),
        )
        .await?;
        let address = inbound.address()?;
        tokio::spawn(show_expiry(self.identity.clone(), self.meters.clone(), draining));
        Ok(Running { address, inbound: tokio::spawn(inbound.run()) })
    }
}

impl Running {
    /// Where the others reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has drained.
    pub async fn finished(self) {
        let _ = self.inbound.await;
    }
}

/// Keeps the metric of the certificate's end up to date.
async fn show_expiry(identity: Identity, meters: Arc<Meters>, draining: Draining) {
    loop {
        let seconds = identity.not_after().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        meters.certificate_expiry.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        tokio::select! {
            () = identity.renewed() => {}
            () = draining.wait() => return,
        }
    }
}
