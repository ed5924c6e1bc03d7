//! `grpc-timeout`: how long a caller waits, as the gRPC wire protocol writes it.

use std::time::Duration;

use crate::{
    Error,
    contract::{Idempotency, Method},
};

/// The header that carries it.
pub const HEADER: &str = "grpc-timeout";

/// Reads a timeout: at most eight digits and a unit.
pub fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Writes a timeout in the finest unit that fits eight digits.
pub fn format(timeout: Duration) -> String {
    let (micros, millis) = (timeout.as_micros(), timeout.as_millis());
    if micros < 100_000_000 {
        format!("{micros}u")
    } else if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    }
}

/// What a caller is told whose time ran out before the RPC answered.
pub fn error(method: &Method) -> Error {
    let message = match method.idempotency {
        Idempotency::NoSideEffects => "Time ran out. Repeat it.",
        _ if method.has_request_id => {
            "Time ran out. The request may have been carried out: repeat it with the same request_id."
        }
        _ => "Time ran out. The request may have been carried out.",
    };
    Error::named("DEADLINE_EXCEEDED", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_and_written_and_nonsense_is_not() {
        assert_eq!(parse("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for seconds in [0, 1, 99, 100, 3600, 200_000] {
            let timeout = Duration::from_secs(seconds);
            assert_eq!(parse(&format(timeout)), Some(timeout));
        }
        for wrong in ["", "S", "10", "-1S", "123456789S", "1x", "1 S", "é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
