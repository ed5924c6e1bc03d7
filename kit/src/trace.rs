//! The W3C trace context: one id that follows a request across every hop, into facts and into every error.

use rand::Rng;

/// The header that carries it (W3C Trace Context, level 1).
pub const HEADER: &str = "traceparent";

/// Where in a trace something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, shared by every hop.
    pub trace_id: u128,
    /// This hop.
    pub span_id: u64,
    /// Whether an exporter keeps it.
    pub sampled: bool,
}

impl TraceContext {
    /// A trace that begins here.
    pub fn random() -> Self {
        let mut rng = rand::rng();
        Self { trace_id: rng.random::<u128>().max(1), span_id: rng.random::<u64>().max(1), sampled: true }
    }

    /// Another hop of the same trace.
    pub fn child(&self) -> Self {
        Self { span_id: rand::rng().random::<u64>().max(1), ..*self }
    }

    /// Reads a `traceparent`; nothing if it is malformed, as the standard asks.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            span_id: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The `traceparent` of this context.
    pub fn to_header(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// The trace id as people quote it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_its_header_and_malformed_ones_are_ignored() {
        let context = TraceContext::random();
        assert_eq!(TraceContext::parse(&context.to_header()), Some(context));
        assert_eq!(context.child().trace_id, context.trace_id);
        for wrong in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }
}
