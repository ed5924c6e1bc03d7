//! The SQL of the books. A transaction costs five statements, however many entries it has: write the transaction,
//! take the owners' rows, read their accounts, write them back, write the entries.

use std::collections::BTreeMap;

use kit::{Error, Scope, Timestamp};
use storage::{Bind, Row, Session, placeholders};

use crate::{
    book::{Account, Book, Entry, is_house},
    withdrawal::{State, Withdrawal},
};

/// A transaction as it is stored, but for its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `txn_…`.
    pub id: String,
    /// What it was for.
    pub kind: String,
    /// The resource it was for.
    pub reference: String,
    /// When.
    pub create_time: Timestamp,
}

/// An entry as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The transaction it is part of.
    pub transaction: Header,
    /// Its number among the entries of its owner, from 1.
    pub sequence: i64,
    /// Whose account.
    pub owner: String,
    /// The code of the unit.
    pub code: String,
    /// What was added, or taken where it is negative.
    pub atoms: i64,
    /// What there was of the unit after it.
    pub balance: i64,
}

/// Takes the rows of owners, in order, and with them all their accounts until the unit ends. Numbers are set aside for
/// as many entries as each is to have; gives back each owner's last number before them.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn take(session: &mut Session, owners: &BTreeMap<&str, i64>) -> Result<BTreeMap<String, i64>, Error> {
    let sql = format!(
        "INSERT INTO owners (owner, sequence) VALUES {} \
         ON CONFLICT (owner) DO UPDATE SET sequence = owners.sequence + excluded.sequence RETURNING owner, sequence",
        placeholders(owners.len(), 2)
    );
    let binds: Vec<Bind> = owners.iter().flat_map(|(owner, count)| [(*owner).into(), (*count).into()]).collect();
    let rows = session.rows_dynamic(sql, &binds).await?;
    let last = |row: &Row| {
        let owner = row.text(0)?;
        let count = owners.get(owner.as_str()).copied().unwrap_or_default();
        Ok((owner, row.int(1)? - count))
    };
    rows.iter().map(last).collect()
}

/// The accounts with these owners and units, as far as they are open.
pub async fn load_book(session: &mut Session, keys: &[(&str, &str)]) -> Result<Book, Error> {
    let sql = format!(
        "SELECT owner, unit, posted, held, cost, realized FROM accounts WHERE (owner, unit) IN (VALUES {})",
        placeholders(keys.len(), 2)
    );
    let binds: Vec<Bind> = keys.iter().flat_map(|(owner, code)| [(*owner).into(), (*code).into()]).collect();
    let rows = session.rows_dynamic(sql, &binds).await?;
    Ok(Book::new(rows.iter().map(account).collect::<Result<Vec<_>, _>>()?))
}

/// Writes every account of a book, and opens those that are new. The CHECKs of the table have the last word.
pub async fn save_book(session: &mut Session, book: &Book) -> Result<(), Error> {
    let accounts = book.accounts();
    let sql = format!(
        "INSERT INTO accounts (owner, unit, posted, held, limited, cost, realized, version) VALUES {} \
         ON CONFLICT (owner, unit) DO UPDATE SET posted = excluded.posted, held = excluded.held, \
         cost = excluded.cost, realized = excluded.realized, version = accounts.version + 1",
        placeholders(accounts.len(), 8)
    );
    let mut binds: Vec<Bind> = Vec::with_capacity(accounts.len() * 8);
    for account in accounts {
        let limited = i64::from(!is_house(&account.owner));
        binds.extend([account.owner.as_str().into(), account.code.as_str().into()]);
        binds.extend([account.posted, account.held, limited, account.cost, account.realized, 1].map(Bind::from));
    }
    session.rows_dynamic(sql, &binds).await.map(|_| ())
}

/// Writes a transaction without its entries, unless there is one with its id. Says whether it did.
pub async fn insert_transaction(
    session: &mut Session,
    header: &Header,
    hold_id: Option<&str>,
    fingerprint: Option<[u8; 32]>,
) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO transactions (id, kind, reference, create_time, hold_id, fingerprint)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";

    let Header { id, kind, reference, create_time } = header;
    let head = [id.into(), kind.into(), reference.into(), (*create_time).into()];
    let tail = [hold_id.into(), fingerprint.map(Vec::from).into()];
    Ok(session.exec(INSERT, &[&head[..], &tail].concat()).await? == 1)
}

/// The fingerprint of the request that has written a transaction, if there is the transaction; it may be one of an id
/// that no caller has chosen.
pub async fn fingerprint(session: &mut Session, id: &str) -> Result<Option<Option<Vec<u8>>>, Error> {
    const FIND: &str = "SELECT fingerprint FROM transactions WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.map(|row| row.optional_bytes(0)).transpose()
}

/// Writes the entries of a transaction. `balances` is what each entry left, `last` each owner's last number.
pub async fn insert_entries(
    session: &mut Session,
    transaction_id: &str,
    entries: &[Entry],
    balances: &[i64],
    mut last: BTreeMap<String, i64>,
) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO entries (owner, sequence, transaction_id, position, unit, atoms, balance) VALUES {}",
        placeholders(entries.len(), 7)
    );
    let mut binds: Vec<Bind> = Vec::with_capacity(entries.len() * 7);
    for ((position, entry), balance) in (1_i64..).zip(entries).zip(balances) {
        let sequence = last.entry(entry.owner.clone()).or_default();
        *sequence += 1;
        binds.extend([entry.owner.as_str().into(), (*sequence).into(), transaction_id.into(), position.into()]);
        binds.extend([entry.code.as_str().into(), entry.atoms.into(), (*balance).into()]);
    }
    session.rows_dynamic(sql, &binds).await.map(|_| ())
}

/// The lines of a transaction, in the order in which they were posted.
pub async fn transaction(session: &mut Session, id: &str) -> Result<Vec<Line>, Error> {
    const FIND: &str =
        "SELECT t.id, t.kind, t.reference, t.create_time, e.sequence, e.owner, e.unit, e.atoms, e.balance
        FROM entries e JOIN transactions t ON t.id = e.transaction_id WHERE e.transaction_id = $1 ORDER BY e.position";

    session.rows(FIND, &[id.into()]).await?.iter().map(line).collect()
}

/// An owner's lines before a number, the newest first, of one unit or of all.
pub async fn lines(
    session: &mut Session,
    owner: &str,
    code: &str,
    before: i64,
    limit: i64,
) -> Result<Vec<Line>, Error> {
    const PAGE: &str =
        "SELECT t.id, t.kind, t.reference, t.create_time, e.sequence, e.owner, e.unit, e.atoms, e.balance
        FROM entries e JOIN transactions t ON t.id = e.transaction_id
        WHERE e.owner = $1 AND e.sequence < $2 AND ($3 = '' OR e.unit = $3) ORDER BY e.sequence DESC LIMIT $4";

    session.rows(PAGE, &[owner.into(), before.into(), code.into(), limit.into()]).await?.iter().map(line).collect()
}

/// Every account of an owner.
pub async fn accounts_of(session: &mut Session, owner: &str) -> Result<Vec<Account>, Error> {
    const ALL: &str = "SELECT owner, unit, posted, held, cost, realized FROM accounts WHERE owner = $1 ORDER BY unit";
    session.rows(ALL, &[owner.into()]).await?.iter().map(account).collect()
}

/// Writes a new withdrawal.
pub async fn insert_withdrawal(session: &mut Session, withdrawal: &Withdrawal) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO withdrawals (id, owner, unit, atoms, hold_id, state, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";

    let Withdrawal { id, owner, code, atoms, hold_id, state, create_time, .. } = withdrawal;
    let (atoms, time) = (*atoms, *create_time);
    let head = [id.into(), owner.into(), code.into(), atoms.into()];
    let tail = [hold_id.into(), state.name().into(), time.into()];
    session.exec(INSERT, &[&head[..], &tail[..]].concat()).await.map(|_| ())
}

/// A withdrawal, locked until the unit ends.
pub async fn lock_withdrawal(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Withdrawal>, Error> {
    let row = session.row_for_update(FIND_WITHDRAWAL, &[id.into(), scope.owner().into()]).await?;
    row.as_ref().map(withdrawal).transpose()
}

/// A withdrawal.
pub async fn load_withdrawal(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Withdrawal>, Error> {
    let row = session.row(FIND_WITHDRAWAL, &[id.into(), scope.owner().into()]).await?;
    row.as_ref().map(withdrawal).transpose()
}

const FIND_WITHDRAWAL: &str = "SELECT id, owner, unit, atoms, hold_id, state, create_time, update_time FROM withdrawals
    WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

/// Withdrawals before an id, the newest first.
pub async fn withdrawals(
    session: &mut Session,
    scope: &Scope,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Withdrawal>, Error> {
    const OF_OWNER: &str = "SELECT id, owner, unit, atoms, hold_id, state, create_time, update_time FROM withdrawals
        WHERE (CAST($2 AS TEXT) IS NULL OR id < $2) AND owner = $3 ORDER BY id DESC LIMIT $1";
    const OF_ALL: &str = "SELECT id, owner, unit, atoms, hold_id, state, create_time, update_time FROM withdrawals
        WHERE (CAST($2 AS TEXT) IS NULL OR id < $2) ORDER BY id DESC LIMIT $1";

    let rows = match scope.owner() {
        Some(owner) => session.rows(OF_OWNER, &[limit.into(), before.into(), owner.into()]).await?,
        None => session.rows(OF_ALL, &[limit.into(), before.into()]).await?,
    };
    rows.iter().map(withdrawal).collect()
}

/// The ids of withdrawals that were asked for at `until` or before and wait for the bank, the oldest first.
pub async fn waiting_withdrawals(session: &mut Session, until: Timestamp, limit: i64) -> Result<Vec<String>, Error> {
    const WAITING: &str = "SELECT id FROM withdrawals WHERE state = 'HELD' AND create_time <= $1
        ORDER BY create_time LIMIT $2";
    session.rows(WAITING, &[until.into(), limit.into()]).await?.iter().map(|row| row.text(0)).collect()
}

/// Ends a withdrawal. Its hold ends beside it.
pub async fn end_withdrawal(session: &mut Session, ended: &Withdrawal) -> Result<(), Error> {
    const END: &str = "UPDATE withdrawals SET state = $2, update_time = $3 WHERE id = $1 AND state = 'HELD'";

    let binds = [(&ended.id).into(), ended.state.name().into(), ended.update_time.into()];
    if session.exec(END, &binds).await? == 1 {
        return Ok(());
    }
    Err(Error::internal(format!("{} was not held when it was to end", ended.id)))
}

fn account(row: &Row) -> Result<Account, Error> {
    Ok(Account {
        owner: row.text(0)?,
        code: row.text(1)?,
        posted: row.int(2)?,
        held: row.int(3)?,
        cost: row.int(4)?,
        realized: row.int(5)?,
    })
}

fn line(row: &Row) -> Result<Line, Error> {
    Ok(Line {
        transaction: Header {
            id: row.text(0)?,
            kind: row.text(1)?,
            reference: row.text(2)?,
            create_time: row.time(3)?,
        },
        sequence: row.int(4)?,
        owner: row.text(5)?,
        code: row.text(6)?,
        atoms: row.int(7)?,
        balance: row.int(8)?,
    })
}

fn withdrawal(row: &Row) -> Result<Withdrawal, Error> {
    Ok(Withdrawal {
        id: row.text(0)?,
        owner: row.text(1)?,
        code: row.text(2)?,
        atoms: row.int(3)?,
        hold_id: row.text(4)?,
        state: State::named(&row.text(5)?)?,
        create_time: row.time(6)?,
        update_time: row.time(7)?,
    })
}
