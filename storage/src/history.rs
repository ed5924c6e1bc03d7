//! The history of an aggregate: every step it took, in order.

use kit::{Error, Timestamp};

use crate::session::Session;

/// A step of an aggregate's history as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// 1, 2, 3, …
    pub sequence: i64,
    /// The state before; empty at birth.
    pub from: String,
    /// The state after.
    pub to: String,
    /// When.
    pub time: Timestamp,
    /// What the aggregate wanted to remember.
    pub detail: Vec<u8>,
}

/// The steps of `aggregate` after number `after`, at most `limit`, oldest first.
///
/// # Errors
/// See [`Session::rows`].
pub async fn history(
    session: &mut Session,
    aggregate: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredChange>, Error> {
    const AFTER: &str = "SELECT sequence, from_state, to_state, time, detail FROM history
        WHERE aggregate = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";

    let rows = session.rows(AFTER, &[aggregate.into(), after.into(), limit.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredChange {
                sequence: row.int(0)?,
                from: row.text(1)?,
                to: row.text(2)?,
                time: row.time(3)?,
                detail: row.bytes(4)?,
            })
        })
        .collect()
}
