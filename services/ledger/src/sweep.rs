//! Ends holds whose time is over, within a second. Posting looks at the time itself, so a late sweep moves nothing.

use std::time::Duration;

use futures::StreamExt as _;
use kit::{Error, Scope, drain::Draining};
use storage::Unit;

use crate::{Service, hold::Command, hold_store, posting};

/// How often to look, at the least.
const TICK: Duration = Duration::from_millis(500);
/// How many holds one look takes up.
const BATCH: i64 = 256;
/// How many end at once, and so share a commit where units do.
const AT_ONCE: usize = 16;

/// Sweeps until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        if let Err(error) = sweep(service).await {
            tracing::warn!(%error, "holds whose time is over could not be found, and will be again");
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Ends every hold whose time is over. One that cannot be ended keeps no other from it.
async fn sweep(service: &Service) -> Result<(), Error> {
    loop {
        let now = service.0.db.clock().now();
        let overdue = service.0.db.read(async |session| hold_store::overdue(session, now, BATCH).await).await?;
        let full = overdue.len() == usize::try_from(BATCH).unwrap_or_default();
        let ended: Vec<bool> = futures::stream::iter(overdue)
            .map(|id| async move { expire(service, &id).await })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        // Where nothing ends, the next look is left to the next tick.
        if !full || !ended.contains(&true) {
            return Ok(());
        }
    }
}

/// Ends one hold, and says whether it has ended.
async fn expire(service: &Service, id: &str) -> bool {
    let ended = service.0.db.write(async |unit: &mut Unit| {
        let locked = hold_store::lock(unit, &Scope::All, id).await?;
        let hold = locked.ok_or_else(|| Error::internal(format!("{id} is gone")))?;
        posting::end_hold(unit, &hold, Command::Expire).await
    });
    match ended.await {
        Ok(_) => true,
        // Another sweep, or whoever wanted the hold, was faster.
        Err(error) if error.definitive() && error.reason() != "EXCEEDS_HOLD" => true,
        Err(error) => {
            tracing::warn!(%error, hold = id, "a hold whose time is over could not be ended");
            false
        }
    }
}
