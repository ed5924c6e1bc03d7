//! The trace context that travels with a fact.

use std::time::Duration;

use kit::{call::Call, trace::TraceContext};

use crate::event::Event;

/// The W3C `traceparent` of the call that is being carried out; empty outside one.
pub(crate) fn current() -> String {
    Call::try_current().map(|call| call.trace.to_header()).unwrap_or_default()
}

/// The call as part of which `workload` handles an event: its own, in the trace of whoever made the fact true.
pub(crate) fn following(event: &Event, workload: &str, limit: Duration) -> Call {
    let call = Call::background(workload, limit);
    match TraceContext::parse(&event.trace) {
        Some(trace) => Call { trace: trace.child(), ..call },
        None => call,
    }
}
