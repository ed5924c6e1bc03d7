//! What a sidecar counts. The families are made once in a process and shared by every sidecar in it; the counters of each
//! are looked up once, not for every call.

use std::sync::LazyLock;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The metrics of all sidecars of a process. Clones are the same metrics.
#[derive(Clone, Default)]
pub struct Metrics {
    requests: Family<Pair, Counter>,
    retries: Family<Pair, Counter>,
    failures: Family<Pair, Counter>,
    accepted: Family<Workload, Counter>,
    refused: Family<Workload, Counter>,
    handshakes_failed: Family<Workload, Counter>,
    inbound_connections: Family<Workload, Gauge>,
    outbound_connections: Family<Workload, Gauge>,
    certificate_expiry: Family<Workload, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pair {
    source: String,
    destination: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Workload {
    workload: String,
}

/// What the sidecars of this process count together.
static OF_PROCESS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics::new();
    kit::telemetry::register(|registry| metrics.register(registry));
    metrics
});

impl Metrics {
    /// The metrics that this process shows at `/metrics`.
    pub fn of_process() -> Self {
        OF_PROCESS.clone()
    }

    /// Metrics that start at zero and are shown nowhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the metrics in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("mesh");
        registry.register("outbound_requests", "Calls from one workload to another", self.requests.clone());
        registry.register("outbound_retries", "Attempts after the first", self.retries.clone());
        registry.register("outbound_failures", "Attempts that broke or met UNAVAILABLE", self.failures.clone());
        registry.register("inbound_requests", "Calls that a workload was given", self.accepted.clone());
        registry.register("inbound_refused", "Calls that a peer was not allowed", self.refused.clone());
        registry.register("handshakes_failed", "Peers without a valid identity", self.handshakes_failed.clone());
        registry.register("inbound_connections", "Open connections from others", self.inbound_connections.clone());
        registry.register("outbound_connections", "Open connections to others", self.outbound_connections.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the current certificate ends",
            self.certificate_expiry.clone(),
        );
    }

    /// The counters of one sidecar.
    pub(crate) fn of(&self, workload: &str) -> Meters {
        let labels = Workload { workload: workload.to_owned() };
        Meters {
            workload: workload.to_owned(),
            accepted: self.accepted.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
            handshakes_failed: self.handshakes_failed.get_or_create_owned(&labels),
            inbound: self.inbound_connections.get_or_create_owned(&labels),
            outbound: self.outbound_connections.get_or_create_owned(&labels),
            certificate_expiry: self.certificate_expiry.get_or_create_owned(&labels),
            all: self.clone(),
        }
    }
}

/// The counters of one sidecar.
pub(crate) struct Meters {
    workload: String,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) certificate_expiry: Gauge,
    inbound: Gauge,
    outbound: Gauge,
    all: Metrics,
}

/// The counters of the calls to one destination.
pub(crate) struct CallMeters {
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    pub(crate) failures: Counter,
}

impl Meters {
    pub(crate) fn calls_to(&self, destination: &str) -> CallMeters {
        let pair = Pair { source: self.workload.clone(), destination: destination.to_owned() };
        CallMeters {
            requests: self.all.requests.get_or_create_owned(&pair),
            retries: self.all.retries.get_or_create_owned(&pair),
            failures: self.all.failures.get_or_create_owned(&pair),
        }
    }

    pub(crate) fn inbound_connection(&self) -> Open {
        Open::count(&self.inbound)
    }

    pub(crate) fn outbound_connection(&self) -> Open {
        Open::count(&self.outbound)
    }
}

/// An open connection, counted until it is dropped.
pub(crate) struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
