//! The questions of the audit: what one page of the books adds up to.

use std::collections::BTreeMap;

use kit::Error;
use storage::{Bind, Row, Session};

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

/// What one owner has of a unit, beside what its entries and holds add up to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What it has, what of that is set aside, and whether it may not owe; nothing if there is no account.
    pub account: Option<(i64, i64, bool)>,
    /// What its entries sum to.
    pub atoms: i64,
    /// What left it by entries of holds.
    pub moved: i64,
    /// What is left of its holds.
    pub held: i64,
    /// What its holds say was moved.
    pub posted: i64,
}

impl Tally {
    /// Adds what some of the entries sum to, and what left by holds.
    pub fn add(&mut self, atoms: i64, moved: i64) {
        self.atoms = self.atoms.saturating_add(atoms);
        self.moved = self.moved.saturating_add(moved);
    }

    /// Whether there is an account and it is right: the rule that [`accounts`] has in SQL.
    pub fn is_right(&self) -> bool {
        self.account.is_some_and(|(posted, held, limited)| {
            let covered = !limited || posted >= held && self.posted == self.moved;
            posted == self.atoms && held == self.held && covered
        })
    }
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

/// The accounts of a page, with its end if they are `<=` that, or without if they are `<`: another bound, since a name that
/// is filtered out would have all its entries read all the same.
macro_rules! accounts_up_to {
    ($compares:literal) => {
        concat!(
            "SELECT COALESCE(a.unit, e.unit), CAST(COUNT(a.owner) AS BIGINT),
            CAST(SUM(CASE WHEN a.posted = COALESCE(e.atoms, 0) AND a.held = COALESCE(h.held, 0)
                AND (a.limited = 0 OR a.posted >= a.held AND COALESCE(h.moved, 0) = COALESCE(e.moved, 0))
                THEN 0 ELSE 1 END) AS BIGINT)
            FROM (SELECT owner, unit, posted, held, limited FROM accounts
                WHERE owner > $1 AND owner ",
            $compares,
            " $2) a
            FULL JOIN (SELECT l.owner, l.unit, SUM(l.atoms) AS atoms,
                    SUM(CASE WHEN t.hold_id IS NULL THEN 0 ELSE -l.atoms END) AS moved
                FROM entries l JOIN transactions t ON t.id = l.transaction_id
                WHERE l.owner > $1 AND l.owner ",
            $compares,
            " $2 GROUP BY l.owner, l.unit) e
                ON e.owner = a.owner AND e.unit = a.unit
            LEFT JOIN (SELECT owner, unit, SUM(CASE WHEN state = 'HELD' THEN atoms - posted ELSE 0 END) AS held,
                    SUM(posted) AS moved FROM holds WHERE owner > $1 AND owner ",
            $compares,
            " $2 GROUP BY owner, unit) h
                ON h.owner = a.owner AND h.unit = a.unit
            GROUP BY COALESCE(a.unit, e.unit)"
        )
    };
}

/// By unit: how many accounts there are, and how many are wrong. One is right that has what its entries say, has set
/// aside what is left of its holds, and was moved by its holds as much as they say; entries without one are wrong.
/// [`Tally::is_right`] says the same of one account.
pub async fn accounts(session: &mut Session, page: &Page<'_>) -> Result<Vec<(String, i64, i64)>, Error> {
    const ADD_UP: &str = accounts_up_to!("<=");

    lines(session, ADD_UP, &[page.after.into(), page.end.into()]).await
}

/// As [`accounts`], without the owner with whom the page ends, who has too many entries for one read: [`tallies`] are for
/// them.
pub async fn accounts_before(session: &mut Session, page: &Page<'_>) -> Result<Vec<(String, i64, i64)>, Error> {
    const ADD_UP: &str = accounts_up_to!("<");

    lines(session, ADD_UP, &[page.after.into(), page.end.into()]).await
}

/// By unit: what an owner has, and what its holds add up to, all at once; but of its entries only those beyond the last
/// that it counts: none.
pub async fn tallies(session: &mut Session, owner: &Owner) -> Result<BTreeMap<String, Tally>, Error> {
    const ACCOUNTS: &str = "SELECT unit, posted, held, limited FROM accounts WHERE owner = $1";
    const HOLDS: &str = "SELECT unit, CAST(SUM(CASE WHEN state = 'HELD' THEN atoms - posted ELSE 0 END) AS BIGINT),
        CAST(SUM(posted) AS BIGINT) FROM holds WHERE owner = $1 GROUP BY unit";

    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for row in session.rows(ACCOUNTS, &[(&owner.name).into()]).await? {
        let account = Some((row.int(1)?, row.int(2)?, row.int(3)? != 0));
        tallies.insert(row.text(0)?, Tally { account, ..Tally::default() });
    }
    for (unit, held, posted) in lines(session, HOLDS, &[(&owner.name).into()]).await? {
        if let Some(tally) = tallies.get_mut(&unit) {
            (tally.held, tally.posted) = (held, posted);
        }
    }
    for (unit, atoms, moved) in entries(session, &owner.name, owner.entries, i64::MAX).await? {
        tallies.entry(unit).or_default().add(atoms, moved);
    }
    Ok(tallies)
}

/// By unit: what the entries of an owner after one number and up to another sum to, and what of that left by holds.
pub async fn entries(
    session: &mut Session,
    owner: &str,
    after: i64,
    end: i64,
) -> Result<Vec<(String, i64, i64)>, Error> {
    const ADD_UP: &str = "SELECT l.unit, CAST(SUM(l.atoms) AS BIGINT),
            CAST(SUM(CASE WHEN t.hold_id IS NULL THEN 0 ELSE -l.atoms END) AS BIGINT)
        FROM entries l JOIN transactions t ON t.id = l.transaction_id
        WHERE l.owner = $1 AND l.sequence > $2 AND l.sequence <= $3 GROUP BY l.unit";

    lines(session, ADD_UP, &[owner.into(), after.into(), end.into()]).await
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

    lines(session, ADD_UP, &[page.after.into(), page.end.into()]).await
}

async fn lines(session: &mut Session, sql: &'static str, binds: &[Bind]) -> Result<Vec<(String, i64, i64)>, Error> {
    let rows = session.rows(sql, binds).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?, row.int(2)?))).collect()
}
