//! What a database still has to do: facts that are not in the log yet, and facts that were put aside.

use kit::{Error, Timestamp};

use crate::{db::Db, session::Session};

/// How much work lies in a context's database, for its metrics and alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Facts that are committed and not yet in the log.
    pub outbox: u64,
    /// Since when the oldest of them waits: now minus this is the lag of the relay.
    pub oldest: Option<Timestamp>,
    /// Facts of others that a consumer put aside because it cannot handle them: somebody has to look.
    pub poison: u64,
    /// Facts of others that lie behind one that is poison or missing.
    pub waiting: u64,
}

impl Db {
    /// What is still to be done. Reads as many rows as there are, so ask now and then, not with each request.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        const OUTBOX: &str = "SELECT CAST(COUNT(*) AS BIGINT), MIN(time) FROM outbox";
        const PARKED: &str = "SELECT
            CAST(COALESCE(SUM(CASE WHEN state = 'WAITING' THEN 0 ELSE 1 END), 0) AS BIGINT),
            CAST(COALESCE(SUM(CASE WHEN state = 'WAITING' THEN 1 ELSE 0 END), 0) AS BIGINT)
            FROM dead_letters";

        let look = async |session: &mut Session| {
            let mut backlog = Backlog::default();
            if let Some(row) = session.row(OUTBOX, &[]).await? {
                (backlog.outbox, backlog.oldest) = (row.int(0)?.unsigned_abs(), row.optional_time(1)?);
            }
            if let Some(row) = session.row(PARKED, &[]).await? {
                (backlog.poison, backlog.waiting) = (row.int(0)?.unsigned_abs(), row.int(1)?.unsigned_abs());
            }
            Ok(backlog)
        };
        self.snapshot(look).await
    }
}
