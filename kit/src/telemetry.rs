//! What a process tells about itself: log lines, traces and metrics. See [`crate::trace`] for the context that ties them
//! together across hops.

mod metrics;
mod otlp;

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

pub use metrics::{CONTENT_TYPE, Metrics, metrics, register, render};
pub use otlp::server_span;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: coloured on a terminal.
    #[default]
    Pretty,
    /// For programs: one JSON object a line, with the fields of every open span.
    Json,
}

/// What to tell, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// `service.name` in traces.
    pub service: String,
    /// `service.version` in traces.
    pub version: String,
    /// How log lines look. They go to standard error.
    pub format: Format,
    /// Which lines, in the words of `RUST_LOG`: `info`, `warn,kit=debug`.
    pub filter: String,
    /// Where spans go: the gRPC endpoint of an OpenTelemetry collector, `http://127.0.0.1:4317`. Nowhere if not set.
    pub otlp_endpoint: Option<String>,
}

/// Why telemetry did not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("the log filter `{filter}` is not valid: {problem}. Write it as in `info` or `warn,kit=debug`.")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The exporter cannot be built.
    #[error("spans cannot be sent to {endpoint}: {problem}. Give the URL of an OpenTelemetry collector's gRPC port.")]
    Otlp {
        /// Where they should go.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Telemetry was started before in this process.
    #[error("telemetry was started before in this process")]
    Started,
}

/// Sends what is left when it is dropped. Keep it until the end of `main`.
#[derive(Debug)]
#[must_use = "spans are lost that were not sent before the process ends"]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Starts logging, and sending spans if an endpoint is given. Call it within the tokio runtime, which carries the
/// exporter's connection.
///
/// # Errors
/// If the filter or the endpoint is not valid, or telemetry was started before.
pub fn init(options: &Options) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|error| TelemetryError::Filter { filter: options.filter.clone(), problem: error.to_string() })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match options.format {
        Format::Pretty => lines.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed(),
    };
    let provider = options.otlp_endpoint.as_ref().map(|endpoint| otlp::provider(endpoint, options)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        // Spans are exported whatever the log shows, but only our own: those of HTTP/2 below would drown them.
        let tracer = provider.tracer("agora");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(otlp::only_rpcs())
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|_| TelemetryError::Started)?;
    Ok(Guard(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            service: "test".into(),
            version: "0".into(),
            format: Format::Json,
            filter: "info".into(),
            otlp_endpoint: None,
        }
    }

    #[tokio::test]
    async fn a_setting_that_cannot_work_is_refused_with_what_to_do() {
        let error = init(&Options { filter: "info,=x=".into(), ..options() }).unwrap_err().to_string();
        assert!(error.contains("`info,=x=` is not valid"), "{error}");
        let error = init(&Options { otlp_endpoint: Some("no url".into()), ..options() }).unwrap_err().to_string();
        assert!(error.contains("no url"), "{error}");
    }
}
