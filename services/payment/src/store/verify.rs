//! The questions of the audit.

use kit::{Error, Timestamp};
use storage::Session;

/// Ids after one and up to another: what one read looks at.
pub struct Page {
    /// Where it begins: the last id of the page before.
    pub after: String,
    /// Its last id.
    pub end: String,
    /// How many ids it has.
    pub count: i64,
}

/// A question about a page whose answer is the ids of what is wrong.
pub struct Check {
    /// The query; its parameters are where the page begins and ends, the time where it matters, and how many to name.
    pub sql: &'static str,
    /// What is wrong with them.
    pub says: &'static str,
}

/// The next payments; the parameters are the last id of the page before, and how many.
pub const PAYMENTS: &str = "SELECT MAX(id), CAST(COUNT(*) AS BIGINT)
    FROM (SELECT id FROM payments WHERE id > $1 ORDER BY id LIMIT $2) AS page";
/// The next charges of the simulator.
pub const CHARGES: &str = "SELECT MAX(key), CAST(COUNT(*) AS BIGINT)
    FROM (SELECT key FROM simulator_charges WHERE key > $1 ORDER BY key LIMIT $2) AS page";
/// The next histories, by their steps.
pub const HISTORIES: &str = "SELECT MAX(aggregate), CAST(COUNT(*) AS BIGINT)
    FROM (SELECT aggregate FROM history WHERE aggregate > $1 ORDER BY aggregate LIMIT $2) AS page";

/// What the tables say about themselves.
pub const FIGURES: &[Check] = &[
    Check {
        sql: "SELECT id FROM payments WHERE id > $1 AND id <= $2 AND NOT (0 <= refunded AND refunded <= captured
                AND 0 <= capturing AND captured + capturing <= amount)
            ORDER BY id LIMIT $3",
        says: "has figures that do not fit: 0 <= refunded <= captured <= amount",
    },
    Check {
        sql: "SELECT id FROM payments WHERE id > $1 AND id <= $2
                AND captured <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT) FROM captures
                    WHERE payment_id = payments.id AND captures.state = 'SUCCEEDED')
            ORDER BY id LIMIT $3",
        says: "has captures that do not sum to what was captured",
    },
    Check {
        sql: "SELECT id FROM payments WHERE id > $1 AND id <= $2
                AND capturing <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT) FROM captures
                    WHERE payment_id = payments.id AND captures.state = 'PROCESSING')
            ORDER BY id LIMIT $3",
        says: "has captures under way that do not sum to what is being captured",
    },
    Check {
        sql: "SELECT id FROM payments WHERE id > $1 AND id <= $2
                AND refunded <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT) FROM refunds
                    WHERE payment_id = payments.id AND refunds.state <> 'FAILED')
            ORDER BY id LIMIT $3",
        says: "has refunds that do not sum to what was refunded",
    },
    Check {
        sql: "SELECT id FROM payments WHERE id > $1 AND id <= $2 AND state IN ('FAILED', 'VOIDED') AND captured > 0
            ORDER BY id LIMIT $3",
        says: "has ended without money, and money was captured",
    },
];

/// What the simulator's books say about our payments. What is under way may be there and not yet here.
pub const SIMULATOR: &[Check] = &[
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.id > $1 AND p.id <= $2 AND p.provider = 'simulator' AND CAST($3 AS BIGINT) > 0
                AND COALESCE(c.captured, 0) NOT BETWEEN p.captured AND p.captured + p.capturing
            ORDER BY p.id LIMIT $4",
        says: "has captured something else than its provider says",
    },
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.id > $1 AND p.id <= $2 AND p.provider = 'simulator' AND CAST($3 AS BIGINT) > 0
                AND COALESCE(c.refunded, 0) NOT BETWEEN
                (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT) FROM refunds
                    WHERE payment_id = p.id AND refunds.state = 'SUCCEEDED') AND p.refunded
            ORDER BY p.id LIMIT $4",
        says: "has refunded something else than its provider says",
    },
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.id > $1 AND p.id <= $2 AND p.provider = 'simulator' AND p.state = 'AUTHORIZED' AND p.capturing = 0
                AND (c.key IS NULL OR NOT (c.state = 'AUTHORIZED' OR (c.state = 'PENDING' AND c.ready_time <= $3)))
            ORDER BY p.id LIMIT $4",
        says: "is authorized, and its provider says that it is not",
    },
];

/// What they say about charges that we may not know.
pub const SECURED: &[Check] = &[Check {
    sql: "SELECT c.key FROM simulator_charges c LEFT JOIN payments p ON p.id = c.key
            WHERE c.key > $1 AND c.key <= $2
                AND (p.id IS NULL OR (p.state IN ('CAPTURED', 'FAILED', 'VOIDED') AND p.release <> 'DUE'))
                AND c.captured < c.atoms AND (c.state = 'AUTHORIZED' OR (c.state = 'PENDING' AND c.ready_time <= $3))
            ORDER BY c.key LIMIT $4",
    says: "is secured at its provider, and nobody wants it",
}];

/// The next page after an id; nothing if there is nothing after it.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn page(session: &mut Session, sql: &'static str, after: &str, limit: i64) -> Result<Option<Page>, Error> {
    let Some(row) = session.row(sql, &[after.into(), limit.into()]).await? else { return Ok(None) };
    let Some(end) = row.optional_text(0)? else { return Ok(None) };
    Ok(Some(Page { after: after.to_owned(), end, count: row.int(1)? }))
}

/// The ids of what is wrong on a page.
pub async fn wrong(session: &mut Session, check: &Check, page: &Page, limit: i64) -> Result<Vec<String>, Error> {
    let binds = [(&page.after).into(), (&page.end).into(), limit.into()];
    session.rows(check.sql, &binds).await?.iter().map(|row| row.text(0)).collect()
}

/// The ids of what is wrong on a page at a time.
pub async fn wrong_at(
    session: &mut Session,
    check: &Check,
    page: &Page,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let binds = [(&page.after).into(), (&page.end).into(), now.into(), limit.into()];
    session.rows(check.sql, &binds).await?.iter().map(|row| row.text(0)).collect()
}

/// Every kind of step that the histories of a page know, with one of those that made it: at most a few dozen.
pub async fn moves(session: &mut Session, page: &Page) -> Result<Vec<(String, String, String)>, Error> {
    const MOVES: &str = "SELECT MIN(aggregate), from_state, to_state FROM history
        WHERE aggregate > $1 AND aggregate <= $2
            AND (aggregate LIKE 'pay\\_%' ESCAPE '\\' OR aggregate LIKE 'rfd\\_%' ESCAPE '\\')
        GROUP BY CASE WHEN aggregate < 'q' THEN 0 ELSE 1 END, from_state, to_state LIMIT 200";
    let rows = session.rows(MOVES, &[(&page.after).into(), (&page.end).into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?))).collect()
}
