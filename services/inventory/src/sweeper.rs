//! Gives back what nobody wanted in time, within a second of that time. Whoever needs a reservation sooner than the
//! sweeper comes by finds it expired all the same: every move asks what time it is.

use std::time::Duration;

use kit::{Call, Error, drain::Draining};

use crate::{Service, reservation::Command, store};

/// How often the sweeper looks.
const TICK: Duration = Duration::from_millis(500);
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How many reservations are given back at a time.
const BATCH: usize = 256;

/// Sweeps until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        let sweep = kit::call::run(Call::background("inventory", LIMIT), sweep(service));
        if let Err(error) = sweep.await {
            tracing::warn!(%error, "expired reservations could not be given back, and will be tried again");
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Gives back everything that is due now. Says how many reservations that were.
pub(crate) async fn sweep(service: &Service) -> Result<usize, Error> {
    let now = service.0.db.clock().now();
    let mut swept = 0;
    loop {
        let due = service.0.db.read(async |session| store::reservations::due(session, now, BATCH as i64).await).await?;
        let found = due.len();
        // All of them stand in line before the first is served.
        let expirations = due.into_iter().map(|id| service.0.batcher.submit(id, Command::Expire));
        for expired in futures::future::join_all(expirations).await {
            expired?;
        }
        swept += found;
        if found < BATCH {
            return Ok(swept);
        }
    }
}

/// Looks once, as the sweeper does.
#[cfg(test)]
pub(crate) async fn sweep_as_itself(service: &Service) -> usize {
    kit::call::run(Call::background("inventory", LIMIT), sweep(service)).await.unwrap_or(usize::MAX)
}
