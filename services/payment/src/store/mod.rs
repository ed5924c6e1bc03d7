//! The SQL. A row, its history and the facts about it are saved in one unit.

pub mod captures;
pub mod methods;
pub mod payments;
pub mod refunds;
pub mod unfinished;
pub mod verify;

use kit::{Error, Timestamp};
use storage::{Row, Session, Unit};

use crate::money::Currency;

/// The rows of one table that somebody has to look after.
pub struct Due {
    find: &'static str,
    take: &'static str,
}

/// Payments without an answer, with something to let go, or expired. Their ids.
pub const PAYMENTS: Due = Due {
    find: "SELECT id, '' FROM payments WHERE due_time <= $1 ORDER BY due_time LIMIT $2",
    take: "UPDATE payments SET due_time = $1 WHERE id = $2 AND $3 = '' AND due_time <= $4",
};
/// Captures without an answer. Their payments and shipments.
pub const CAPTURES: Due = Due {
    find: "SELECT payment_id, shipment_id FROM captures WHERE due_time <= $1 ORDER BY due_time LIMIT $2",
    take: "UPDATE captures SET due_time = $1 WHERE payment_id = $2 AND shipment_id = $3 AND due_time <= $4",
};
/// Refunds without an answer. Their ids.
pub const REFUNDS: Due = Due {
    find: "SELECT id, '' FROM refunds WHERE due_time <= $1 ORDER BY due_time LIMIT $2",
    take: "UPDATE refunds SET due_time = $1 WHERE id = $2 AND $3 = '' AND due_time <= $4",
};
/// Cards whose provider has not answered, or has refused them long ago, or has to forget them; except those that it may
/// still be asked to charge. Their ids.
pub const METHODS: Due = Due {
    find: "SELECT id, '' FROM payment_methods WHERE due_time <= $1
            AND NOT EXISTS (SELECT 1 FROM payments WHERE state = 'PROCESSING' AND method_id = payment_methods.id)
        ORDER BY due_time LIMIT $2",
    take: "UPDATE payment_methods SET due_time = $1 WHERE id = $2 AND $3 = '' AND due_time <= $4",
};

impl Due {
    /// What is due, the longest first.
    ///
    /// # Errors
    /// See [`Session::rows`]; so for every function of the store.
    pub async fn find(
        &self,
        session: &mut Session,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<(String, String)>, Error> {
        let rows = session.rows(self.find, &[now.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    }

    /// Takes one of them until `until`, so that no other replica does. False if another was faster.
    pub async fn take(&self, unit: &mut Unit, id: &(String, String), until: Timestamp) -> Result<bool, Error> {
        let binds = [until.into(), (&id.0).into(), (&id.1).into(), unit.now().into()];
        Ok(unit.exec(self.take, &binds).await? > 0)
    }
}

/// Notes what a provider told. False if it told it before.
pub async fn is_news(unit: &mut Unit, provider: &str, id: &str) -> Result<bool, Error> {
    const NOTE: &str = "INSERT INTO provider_events (provider, id, create_time) VALUES ($1, $2, $3)
        ON CONFLICT (provider, id) DO NOTHING";
    let now = unit.now();
    Ok(unit.exec(NOTE, &[provider.into(), id.into(), now.into()]).await? > 0)
}

/// Forgets what providers told before `until`, at most `limit` of it at once. Says how much it was.
pub async fn sweep_news(unit: &mut Unit, until: Timestamp, limit: u32) -> Result<u64, Error> {
    const REMOVE: &str = "DELETE FROM provider_events WHERE (provider, id) IN
        (SELECT provider, id FROM provider_events WHERE create_time < $1 ORDER BY create_time LIMIT $2)";
    unit.exec(REMOVE, &[until.into(), i64::from(limit).into()]).await
}

fn currency(row: &Row, index: usize) -> Result<Currency, Error> {
    let scale = u8::try_from(row.int(index + 1)?).map_err(Error::internal)?;
    Ok(Currency { code: row.text(index)?, scale })
}

fn refusal(row: &Row, index: usize) -> Result<Option<Error>, Error> {
    let unreadable = || Error::internal("a stored refusal cannot be read");
    row.optional_bytes(index)?.map(|bytes| Error::decode(&bytes).ok_or_else(unreadable)).transpose()
}
