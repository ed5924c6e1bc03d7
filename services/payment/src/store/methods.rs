//! Cards, without what would let others pay with them.

use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, Unit};

use crate::provider::Token;

/// A card that someone pays with.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// `pmt_…`.
    pub id: String,
    /// Whose it is, `usr_…`.
    pub owner: String,
    /// Who keeps the card.
    pub provider: String,
    /// The provider's name for it; empty until it keeps it.
    pub token: Token,
    /// Such as `visa`.
    pub brand: String,
    /// The last four digits of its number.
    pub last_four: String,
    /// 1 to 12.
    pub expire_month: i64,
    /// The year in which it expires.
    pub expire_year: i64,
    /// When it was added.
    pub create_time: Timestamp,
    /// Whether its owner removed it.
    pub deleted: bool,
    /// Whether the provider keeps it.
    pub state: State,
    /// Why the provider does not.
    pub refusal: Option<Error>,
}

/// Where a card stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The provider was asked to keep it, and has not answered.
    Processing,
    /// The provider keeps it.
    Ready,
    /// The provider has refused it.
    Failed,
}

impl State {
    const ALL: [State; 3] = [State::Processing, State::Ready, State::Failed];

    fn name(self) -> &'static str {
        match self {
            State::Processing => "PROCESSING",
            State::Ready => "READY",
            State::Failed => "FAILED",
        }
    }

    fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no state {name} of a card")))
    }
}

impl Method {
    /// Whether its owner can pay with it.
    pub fn is_usable(&self) -> bool {
        self.state == State::Ready && !self.deleted
    }
}

/// A card, whether or not it was removed.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, id: &str) -> Result<Option<Method>, Error> {
    const FIND: &str = "SELECT id, owner, provider, token, brand, last_four, expire_month, expire_year, create_time,
            delete_time, state, refusal
        FROM payment_methods WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.as_ref().map(read).transpose()
}

/// The cards that an owner can pay with, the newest first.
pub async fn list(session: &mut Session, owner: &str, limit: i64) -> Result<Vec<Method>, Error> {
    const LIST: &str = "SELECT id, owner, provider, token, brand, last_four, expire_month, expire_year, create_time,
            delete_time, state, refusal
        FROM payment_methods WHERE owner = $1 AND delete_time IS NULL AND state = 'READY'
        ORDER BY create_time DESC, id DESC LIMIT $2";
    session.rows(LIST, &[owner.into(), limit.into()]).await?.iter().map(read).collect()
}

/// How many cards an owner has, those included that the provider was asked to keep.
pub async fn count(session: &mut Session, owner: &str) -> Result<i64, Error> {
    const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM payment_methods
        WHERE owner = $1 AND delete_time IS NULL AND state <> 'FAILED'";
    session.row(COUNT, &[owner.into()]).await?.map_or(Ok(0), |row| row.int(0))
}

/// Notes a card that the provider is about to be asked to keep, and when somebody has to look after it. False if there
/// is one with its id.
pub async fn insert(unit: &mut Unit, method: &Method, due_time: Timestamp) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO payment_methods (id, owner, provider, token, brand, last_four, expire_month,
            expire_year, create_time, state, due_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING";

    let binds: [Bind; 11] = [
        (&method.id).into(),
        (&method.owner).into(),
        (&method.provider).into(),
        method.token.reveal().into(),
        (&method.brand).into(),
        (&method.last_four).into(),
        method.expire_month.into(),
        method.expire_year.into(),
        method.create_time.into(),
        method.state.name().into(),
        due_time.into(),
    ];
    Ok(unit.exec(INSERT, &binds).await? > 0)
}

/// Notes that the provider keeps a card, unless its answer was noted before.
pub async fn keep(unit: &mut Unit, id: &str, token: &Token) -> Result<(), Error> {
    const KEEP: &str = "UPDATE payment_methods SET state = 'READY', token = $2, due_time = NULL
        WHERE id = $1 AND state = 'PROCESSING'";
    unit.exec(KEEP, &[id.into(), token.reveal().into()]).await.map(drop)
}

/// Notes that the provider has refused a card, which is remembered until a time; unless its answer was noted before.
pub async fn refuse(unit: &mut Unit, id: &str, refusal: &Error, until: Timestamp) -> Result<(), Error> {
    const REFUSE: &str = "UPDATE payment_methods SET state = 'FAILED', refusal = $2, due_time = $3
        WHERE id = $1 AND state = 'PROCESSING'";
    unit.exec(REFUSE, &[id.into(), refusal.encode().into(), until.into()]).await.map(drop)
}

/// Removes a card that the provider does not keep.
pub async fn remove(unit: &mut Unit, id: &str) -> Result<(), Error> {
    unit.exec("DELETE FROM payment_methods WHERE id = $1 AND state <> 'READY'", &[id.into()]).await.map(drop)
}

/// Removes a card of an owner; its provider has to forget it as soon as no payment waits for an answer about it. False if
/// there is none.
pub async fn delete(unit: &mut Unit, owner: &str, id: &str) -> Result<bool, Error> {
    const DELETE: &str = "UPDATE payment_methods SET delete_time = $3, due_time = $3
        WHERE id = $1 AND owner = $2 AND delete_time IS NULL AND state = 'READY'";
    let now = unit.now();
    Ok(unit.exec(DELETE, &[id.into(), owner.into(), now.into()]).await? > 0)
}

/// Notes that the provider has forgotten a card that its owner removed.
pub async fn forgotten(unit: &mut Unit, id: &str) -> Result<(), Error> {
    const DONE: &str = "UPDATE payment_methods SET due_time = NULL WHERE id = $1 AND delete_time IS NOT NULL";
    unit.exec(DONE, &[id.into()]).await.map(drop)
}

fn read(row: &Row) -> Result<Method, Error> {
    Ok(Method {
        id: row.text(0)?,
        owner: row.text(1)?,
        provider: row.text(2)?,
        token: Token::new(row.text(3)?),
        brand: row.text(4)?,
        last_four: row.text(5)?,
        expire_month: row.int(6)?,
        expire_year: row.int(7)?,
        create_time: row.time(8)?,
        deleted: row.optional_time(9)?.is_some(),
        state: State::named(&row.text(10)?)?,
        refusal: super::refusal(row, 11)?,
    })
}
