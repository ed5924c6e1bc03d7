//! Work that others may be in the way of.

use kit::Error;

/// How often it is tried.
const ATTEMPTS: usize = 5;

/// Runs work that may be run twice, and again while others are in its way, a few times: replicas that start together put the
/// same rows into an empty database, and whoever is slower finds them there.
///
/// # Errors
/// What `work` refuses, or keeps meeting.
pub async fn again<R, F: Future<Output = Result<R, Error>>>(mut work: impl FnMut() -> F) -> Result<R, Error> {
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(error) if error.retryable() => tracing::debug!(%error, "others are in the way: once more"),
            done => return done,
        }
    }
    work().await
}
