//! What stays unfinished is never silent: `/metrics` shows how old the oldest of it is, and one that has become too old is
//! an error in the log.

use std::time::Duration;

use kit::{Error, drain::Draining, telemetry};
use prometheus_client::metrics::gauge::Gauge;
use storage::Session;

use crate::{Service, store::unfinished};

/// How often the oldest is looked up.
const TICK: Duration = Duration::from_secs(5);
/// Providers are asked again every few seconds: what takes this long does not end by itself.
const TOO_OLD: Duration = Duration::from_secs(600);

/// Watches the oldest until drained. Every replica watches those of all.
pub async fn run(service: &Service, draining: &Draining) {
    let gauge: Gauge = Gauge::default();
    let help =
        "Seconds since the oldest payment, capture, refund or release was begun that has not ended; 0 without one";
    telemetry::register(|registry| registry.register("payment_unfinished_oldest_seconds", help, gauge.clone()));
    loop {
        match oldest(service).await {
            Ok(found) => {
                let (id, age) = found.unwrap_or_default();
                let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                let before = gauge.set(seconds(age));
                if age >= TOO_OLD && before < seconds(TOO_OLD) {
                    tracing::error!(
                        id,
                        age_s = age.as_secs(),
                        "something has not ended for long: look at its provider"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "what is unfinished could not be looked up"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// The oldest payment or refund that somebody has to finish, and for how long.
pub(crate) async fn oldest(service: &Service) -> Result<Option<(String, Duration)>, Error> {
    let now = service.0.db.clock().now();
    let until = service.soon(now);
    let oldest = service.0.db.snapshot(async |session: &mut Session| unfinished::oldest(session, until).await).await?;
    Ok(oldest.map(|(id, since)| (id, now.since(since))))
}
