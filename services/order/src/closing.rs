//! Completes orders whose goods can no longer be returned, many in one unit.

use std::time::Duration;

use kit::{Error, Scope, drain::Draining};
use storage::Unit;

use crate::{Service, order::Command, store};

/// How often to look, at the least.
const TICK: Duration = Duration::from_secs(1);
/// How many orders are completed with one unit.
const BATCH: i64 = 64;

/// Completes until drained.
pub async fn run(service: &Service, draining: &Draining) {
    while !draining.is_set() {
        match work(service).await {
            // There may be more.
            Ok(completed) if completed > 0 => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "orders could not be completed, and will be tried again"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Completes those whose time was over first. Gives back how many.
pub async fn work(service: &Service) -> Result<usize, Error> {
    let db = &service.0.db;
    let mut ids = db.read(async |session| store::to_close(session, db.clock().now(), BATCH).await).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    // Whoever locks several orders does so in this order.
    ids.sort_unstable();
    let completed = db.write(async |unit: &mut Unit| {
        let mut completed = 0;
        for id in &ids {
            completed += usize::from(complete(service, unit, id).await?);
        }
        Ok(completed)
    });
    completed.await
}

async fn complete(service: &Service, unit: &mut Unit, id: &str) -> Result<bool, Error> {
    let before = store::lock(unit, &Scope::All, id).await?;
    // Somebody else may have completed it, or begun to take goods back.
    if before.close_time.is_none_or(|time| time > unit.now()) || !before.saga.is_idle() {
        return Ok(false);
    }
    service.change(unit, &before, Command::Complete, Vec::new()).await.map(|_| true)
}
