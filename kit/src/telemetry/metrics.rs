//! Metrics in the Prometheus text format. Names are those of OpenTelemetry's semantic conventions for RPC (release
//! candidate after 1.37), as OpenTelemetry's rules for Prometheus spell them.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

use crate::contract;

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What stands for an RPC that no contract has: a caller must not be able to make up label values.
const OTHER: &str = "_OTHER";
/// Upper bounds in seconds: those of the conventions, and three below, since many of our calls take less than 5 ms.
const BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics::default();
    register(|registry| metrics.register(registry));
    metrics
});

/// Which call a duration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc_system_name: &'static str,
    rpc_method: &'static str,
    rpc_response_status_code: &'static str,
}

type Durations = Family<RpcLabels, Histogram, fn() -> Histogram>;

/// The metrics that every process has.
pub struct Metrics {
    server: Durations,
    client: Durations,
    /// The names of the contract's methods that were seen, kept for ever: a contract has so many and no more.
    names: RwLock<HashSet<&'static str>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        Self { server: durations(), client: durations(), names: RwLock::default() }
    }
}

impl Metrics {
    /// Notes a call that was answered here. `path` is `/package.Service/Method`.
    pub fn server_call(&self, path: &str, code: Code, duration: Duration) {
        self.observe(&self.server, path, code, duration);
    }

    /// Notes a call of ours that another answered.
    pub fn client_call(&self, path: &str, code: Code, duration: Duration) {
        self.observe(&self.client, path, code, duration);
    }

    fn observe(&self, family: &Durations, path: &str, code: Code, duration: Duration) {
        let labels = RpcLabels {
            rpc_system_name: "grpc",
            rpc_method: self.name(path),
            rpc_response_status_code: code_name(code),
        };
        family.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// `package.Service/Method` if the contract of this process has it.
    fn name(&self, path: &str) -> &'static str {
        let name = path.strip_prefix('/').unwrap_or(path);
        if let Some(known) = self.names.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return known;
        }
        if contract::installed().method(path).is_none() {
            return OTHER;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        match names.get(name) {
            Some(known) => known,
            None => {
                let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
                names.insert(kept);
                kept
            }
        }
    }

    fn register(&self, registry: &mut Registry) {
        let mut histogram = |name: &str, help: &str, family: &Durations| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        histogram("rpc_server_call_duration", "How long calls took that were answered here", &self.server);
        histogram("rpc_client_call_duration", "How long calls took that others answered", &self.client);
    }
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// Adds metrics to those of the process: register a family once, keep a clone of it, and observe through that.
pub fn register(add: impl FnOnce(&mut Registry)) {
    add(&mut REGISTRY.lock().unwrap_or_else(PoisonError::into_inner));
}

/// All metrics of this process as OpenMetrics text, for `/metrics`.
pub fn render() -> String {
    LazyLock::force(&METRICS);
    let mut text = String::new();
    // Writing to a string cannot fail; a metric that fails to encode leaves the text as far as it got.
    if let Err(error) = encode(&mut text, &REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)) {
        tracing::warn!(%error, "a metric cannot be encoded");
    }
    text
}

/// The name of a code, as `google.rpc.Code` spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_caller_cannot_make_up_label_values() {
        for name in ["/made.Up/One", "/made.Up/Two", ""] {
            metrics().server_call(name, Code::Unimplemented, Duration::from_millis(3));
        }
        let text = render();
        let line = "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"_OTHER\",\
                    rpc_response_status_code=\"UNIMPLEMENTED\"} 3";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("made"), "{text}");
    }

    #[test]
    fn others_add_families_of_their_own() {
        let counter: Counter = Counter::default();
        register(|registry| registry.register("test_ticks", "Ticks", counter.clone()));
        counter.inc();
        let text = render();
        assert!(text.contains("test_ticks_total 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
