//! Sends spans to an OpenTelemetry collector, as part of the same trace that headers, errors and facts carry.

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{filter::FilterFn, layer};

use super::{Options, TelemetryError};
use crate::trace::TraceContext;

/// The target of every span that is exported.
const EXPORTED: &str = "kit";

pub(super) fn provider(endpoint: &str, options: &Options) -> Result<SdkTracerProvider, TelemetryError> {
    let wrong = |problem: &dyn std::fmt::Display| TelemetryError::Otlp {
        endpoint: endpoint.into(),
        problem: problem.to_string(),
    };
    crate::config::url(endpoint, &["http", "https"]).map_err(|error| wrong(&error))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| wrong(&error))?;
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attribute(KeyValue::new("service.version", options.version.clone()))
        .build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// Our own spans at `info` and above.
pub(super) fn only_rpcs<S: Subscriber>() -> impl layer::Filter<S> {
    FilterFn::new(|metadata| {
        metadata.is_span() && metadata.target().starts_with(EXPORTED) && *metadata.level() <= tracing::Level::INFO
    })
}

/// The span of a call that is answered here, as part of the caller's trace or the first of a new one; and where in the
/// trace that is, which is what the next hop must be told. Where spans are not exported, that is of our own making.
pub fn server_span(path: &str, parent: Option<TraceContext>) -> (Span, TraceContext) {
    // An error's level, lest a filter that shows only errors takes the trace id out of their lines.
    let span = tracing::error_span!("rpc", otel.kind = "server", otel.name = path, trace_id = tracing::field::Empty);
    span.set_attribute("rpc.system.name", "grpc");
    span.set_attribute("rpc.method", path.trim_start_matches('/').to_owned());
    let trace = join(&span, parent);
    span.record("trace_id", trace.id());
    (span, trace)
}

fn join(span: &Span, parent: Option<TraceContext>) -> TraceContext {
    if let Some(parent) = parent {
        let remote = SpanContext::new(
            TraceId::from(parent.trace_id),
            SpanId::from(parent.span_id),
            if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() },
            true,
            TraceState::default(),
        );
        // Fails where spans are not exported, and then there is nothing to do.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
    let exported = span.context().span().span_context().clone();
    if exported.is_valid() {
        return TraceContext {
            trace_id: u128::from_be_bytes(exported.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(exported.span_id().to_bytes()),
            sampled: exported.is_sampled(),
        };
    }
    parent.map_or_else(TraceContext::random, |parent| parent.child())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::{Layer, SubscriberExt};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().append(&mut batch);
            Ok(())
        }
    }

    #[test]
    fn without_an_exporter_a_trace_goes_on_all_the_same() {
        let parent = TraceContext::random();
        let (_, here) = server_span("/a.B/C", Some(parent));
        assert_eq!(here.trace_id, parent.trace_id);
        assert_ne!(here.span_id, parent.span_id);
        assert_ne!(server_span("/a.B/C", None).1.trace_id, parent.trace_id);
    }

    #[test]
    fn what_is_exported_is_what_the_next_hop_is_told() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(only_rpcs());
        let (parent, here, first) =
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let parent = TraceContext::random();
                let (_, here) = server_span("/a.B/C", Some(parent));
                let (_, first) = server_span("/a.B/C", None);
                drop(tracing::info_span!(target: "h2", "noise"));
                (parent, here, first)
            });
        let spans = kept.0.lock().unwrap();
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0].name, "/a.B/C");
        let ids = |at: usize| (spans[at].span_context.trace_id(), spans[at].span_context.span_id());
        assert_eq!(ids(0), (TraceId::from(parent.trace_id), SpanId::from(here.span_id)));
        assert_eq!(spans[0].parent_span_id, SpanId::from(parent.span_id));
        assert_eq!(ids(1), (TraceId::from(first.trace_id), SpanId::from(first.span_id)));
    }
}
