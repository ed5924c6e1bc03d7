//! Ends the carts of guests who did not come back.

use std::time::Duration;

use kit::{Error, drain::Draining};
use storage::Unit;

use crate::{Service, cart_store};

/// How long a guest's cart is kept after its last change.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often to look.
const TICK: Duration = Duration::from_secs(3_600);
/// How many carts end in one unit.
const BATCH: i64 = 500;

/// Sweeps until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        match service.0.db.write(sweep).await {
            // There may be more.
            Ok(swept) if swept >= BATCH.unsigned_abs() && !draining.is_set() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "carts that guests left are swept in an hour"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Ends carts that have waited longest, and says how many.
pub async fn sweep(unit: &mut Unit) -> Result<u64, Error> {
    let since = unit.now() - KEEP;
    cart_store::sweep(unit, since, BATCH).await
}
