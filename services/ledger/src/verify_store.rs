//! The questions of the audit: what one page of the books adds up to.

use kit::Error;
use storage::{Row, Session};

/// What comes after one name or id, and up to another.
pub struct Page<'a> {
    /// Where the page before ended.
    pub after: &'a str,
    /// Where it ends.
    pub end: &'a str,
}

/// Whoever has accounts.
pub struct Owner {
    /// The name.
    pub name: String,
    /// How many entries there are.
    pub entries: i64,
}

/// The next owners after a name.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn owners(session: &mut Session, after: &str, limit: i64) -> Result<Vec<Owner>, Error> {
    const NEXT: &str = "SELECT owner, sequence FROM owners WHERE owner > $1 ORDER BY owner LIMIT $2";

    let owner = |row: &Row| Ok(Owner { name: row.text(0)?, entries: row.int(1)? });
    session.rows(NEXT, &[after.into(), limit.into()]).await?.iter().map(owner).collect()
}

/// By unit: how many accounts there are, and how many are wrong. One is right that has what its entries say, has set
/// aside what is left of its holds, and was moved by its holds as much as they say; entries without one are wrong.
pub async fn accounts(session: &mut Session, page: &Page<'_>) -> Result<Vec<(String, i64, i64)>, Error> {
    const ADD_UP: &str = "SELECT COALESCE(a.unit, e.unit), CAST(COUNT(a.owner) AS BIGINT),
        CAST(SUM(CASE WHEN a.posted = COALESCE(e.atoms, 0) AND a.held = COALESCE(h.held, 0)
            AND (a.limited = 0 OR a.posted >= a.held AND COALESCE(h.moved, 0) = COALESCE(e.moved, 0))
            THEN 0 ELSE 1 END) AS BIGINT)
        FROM (SELECT owner, unit, posted, held, limited FROM accounts WHERE owner > $1 AND owner <= $2) a
        FULL JOIN (SELECT l.owner, l.unit, SUM(l.atoms) AS atoms,
                SUM(CASE WHEN t.hold_id IS NULL THEN 0 ELSE -l.atoms END) AS moved
            FROM entries l JOIN transactions t ON t.id = l.transaction_id
            WHERE l.owner > $1 AND l.owner <= $2 GROUP BY l.owner, l.unit) e
            ON e.owner = a.owner AND e.unit = a.unit
        LEFT JOIN (SELECT owner, unit, SUM(CASE WHEN state = 'HELD' THEN atoms - posted ELSE 0 END) AS held,
                SUM(posted) AS moved FROM holds WHERE owner > $1 AND owner <= $2 GROUP BY owner, unit) h
            ON h.owner = a.owner AND h.unit = a.unit
        GROUP BY COALESCE(a.unit, e.unit)";

    lines(session, ADD_UP, page).await
}

/// The last of the next transactions after an id; nothing if there are none.
pub async fn last_transaction(session: &mut Session, after: &str, count: i64) -> Result<Option<String>, Error> {
    const LAST: &str = "SELECT MAX(id) FROM (SELECT id FROM transactions WHERE id > $1 ORDER BY id LIMIT $2) AS page";

    let row = session.row(LAST, &[after.into(), count.into()]).await?;
    Ok(row.map(|row| row.optional_text(0)).transpose()?.flatten())
}

/// By unit: what the transactions that are off zero sum to, and how many of them there are.
pub async fn unbalanced(session: &mut Session, page: &Page<'_>) -> Result<Vec<(String, i64, i64)>, Error> {
    const ADD_UP: &str = "SELECT unit, CAST(SUM(atoms) AS BIGINT), CAST(COUNT(*) AS BIGINT)
        FROM (SELECT transaction_id, unit, SUM(atoms) AS atoms FROM entries
            WHERE transaction_id > $1 AND transaction_id <= $2 GROUP BY transaction_id, unit) AS sums
        WHERE atoms <> 0 GROUP BY unit";

    lines(session, ADD_UP, page).await
}

async fn lines(session: &mut Session, sql: &'static str, page: &Page<'_>) -> Result<Vec<(String, i64, i64)>, Error> {
    let rows = session.rows(sql, &[page.after.into(), page.end.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?, row.int(2)?))).collect()
}
