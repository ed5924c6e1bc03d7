//! The questions of the audit.

use kit::{Error, Timestamp};
use storage::Session;

/// A question whose answer is the ids of what is wrong.
pub struct Check {
    /// The query; its last parameter is how many to name.
    pub sql: &'static str,
    /// What is wrong with them.
    pub says: &'static str,
}

/// What the tables say about themselves.
pub const FIGURES: &[Check] = &[
    Check {
        sql: "SELECT id FROM payments WHERE NOT (0 <= refunded AND refunded <= captured AND 0 <= capturing
                AND captured + capturing <= amount)
            ORDER BY id LIMIT $1",
        says: "has figures that do not fit: 0 <= refunded <= captured <= amount",
    },
    Check {
        sql: "SELECT id FROM payments WHERE captured <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT)
                FROM captures WHERE payment_id = payments.id AND captures.state = 'SUCCEEDED')
            ORDER BY id LIMIT $1",
        says: "has captures that do not sum to what was captured",
    },
    Check {
        sql: "SELECT id FROM payments WHERE capturing <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT)
                FROM captures WHERE payment_id = payments.id AND captures.state = 'PROCESSING')
            ORDER BY id LIMIT $1",
        says: "has captures under way that do not sum to what is being captured",
    },
    Check {
        sql: "SELECT id FROM payments WHERE refunded <> (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT)
                FROM refunds WHERE payment_id = payments.id AND refunds.state <> 'FAILED')
            ORDER BY id LIMIT $1",
        says: "has refunds that do not sum to what was refunded",
    },
    Check {
        sql: "SELECT id FROM payments WHERE state IN ('FAILED', 'VOIDED') AND captured > 0 ORDER BY id LIMIT $1",
        says: "has ended without money, and money was captured",
    },
];

/// What the simulator's books say about ours. What is under way may be there and not yet here.
pub const SIMULATOR: &[Check] = &[
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.provider = 'simulator' AND COALESCE(c.captured, 0) NOT BETWEEN p.captured AND p.captured + p.capturing
                AND CAST($1 AS BIGINT) > 0
            ORDER BY p.id LIMIT $2",
        says: "has captured something else than its provider says",
    },
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.provider = 'simulator' AND CAST($1 AS BIGINT) > 0 AND COALESCE(c.refunded, 0) NOT BETWEEN
                (SELECT CAST(COALESCE(SUM(atoms), 0) AS BIGINT) FROM refunds
                    WHERE payment_id = p.id AND refunds.state = 'SUCCEEDED') AND p.refunded
            ORDER BY p.id LIMIT $2",
        says: "has refunded something else than its provider says",
    },
    Check {
        sql: "SELECT p.id FROM payments p LEFT JOIN simulator_charges c ON c.key = p.id
            WHERE p.provider = 'simulator' AND p.state = 'AUTHORIZED' AND p.capturing = 0
                AND (c.key IS NULL OR NOT (c.state = 'AUTHORIZED' OR (c.state = 'PENDING' AND c.ready_time <= $1)))
            ORDER BY p.id LIMIT $2",
        says: "is authorized, and its provider says that it is not",
    },
    Check {
        sql: "SELECT c.key FROM simulator_charges c LEFT JOIN payments p ON p.id = c.key
            WHERE (p.id IS NULL OR (p.state IN ('CAPTURED', 'FAILED', 'VOIDED') AND p.release <> 'DUE'))
                AND c.captured < c.atoms AND (c.state = 'AUTHORIZED' OR (c.state = 'PENDING' AND c.ready_time <= $1))
            ORDER BY c.key LIMIT $2",
        says: "is secured at its provider, and nobody wants it",
    },
];

/// How many payments there are.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn count(session: &mut Session) -> Result<i64, Error> {
    let row = session.row("SELECT CAST(COUNT(*) AS BIGINT) FROM payments", &[]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// The ids of what is wrong.
pub async fn wrong(session: &mut Session, sql: &'static str, limit: i64) -> Result<Vec<String>, Error> {
    session.rows(sql, &[limit.into()]).await?.iter().map(|row| row.text(0)).collect()
}

/// The ids of what is wrong at a time.
pub async fn wrong_at(
    session: &mut Session,
    sql: &'static str,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<String>, Error> {
    session.rows(sql, &[now.into(), limit.into()]).await?.iter().map(|row| row.text(0)).collect()
}

/// Every kind of step that the histories know, with one of those that made it: at most a few dozen.
pub async fn moves(session: &mut Session) -> Result<Vec<(String, String, String)>, Error> {
    const MOVES: &str = "SELECT MIN(aggregate), from_state, to_state FROM history
        WHERE aggregate LIKE 'pay\\_%' ESCAPE '\\' OR aggregate LIKE 'rfd\\_%' ESCAPE '\\'
        GROUP BY CASE WHEN aggregate < 'q' THEN 0 ELSE 1 END, from_state, to_state LIMIT 200";
    let rows = session.rows(MOVES, &[]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?))).collect()
}
