//! Places where a test may kill the process, armed by the environment: `AGORA_FAILPOINT="before-commit=kill"`, or for one
//! database only `AGORA_FAILPOINT="order/before-commit=kill"`. Or by a file that the
//! test writes when the time has come: `AGORA_FAILPOINT="@/a/file"`. Without the feature `failpoints` nothing of this is in
//! the program.
//!
//! The points of this crate: `before-commit`, `after-commit` (before the reply), `relay-after-append` (before the facts
//! leave the outbox), `consumer-before-commit`.

/// Dies here, by SIGKILL, if the environment names this point.
#[cfg(feature = "failpoints")]
pub fn hit(point: &str) {
    use std::sync::LazyLock;

    static ARMED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("AGORA_FAILPOINT").ok());

    let Some(armed) = ARMED.as_deref() else { return };
    let told = match armed.strip_prefix('@') {
        // A file that is not there arms nothing.
        Some(file) => std::fs::read_to_string(file).unwrap_or_default(),
        None => armed.to_owned(),
    };
    if told.trim().strip_suffix("=kill") == Some(point) {
        die();
    }
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_point: &str) {}

/// A point of the database `name`.
#[cfg(feature = "failpoints")]
pub(crate) fn hit_in(name: &str, point: &str) {
    hit(point);
    hit(&format!("{name}/{point}"));
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn hit_in(_name: &str, _point: &str) {}

/// No destructor, no flush: the end that a power cut would bring.
#[cfg(feature = "failpoints")]
#[allow(unsafe_code)]
fn die() -> ! {
    // SAFETY: `kill` and `getpid` take and return plain integers; the process ends here.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    std::process::abort()
}
