//! Cards, without what would let others pay with them.

use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, Unit};

/// A card that someone pays with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// `pmt_…`.
    pub id: String,
    /// Whose it is, `usr_…`.
    pub owner: String,
    /// Who keeps the card.
    pub provider: String,
    /// The provider's name for it.
    pub token: String,
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
}

/// A card, whether or not it was removed.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, id: &str) -> Result<Option<Method>, Error> {
    const FIND: &str = "SELECT id, owner, provider, token, brand, last_four, expire_month, expire_year, create_time,
            delete_time
        FROM payment_methods WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.as_ref().map(read).transpose()
}

/// The cards of an owner, the newest first.
pub async fn list(session: &mut Session, owner: &str, limit: i64) -> Result<Vec<Method>, Error> {
    const LIST: &str = "SELECT id, owner, provider, token, brand, last_four, expire_month, expire_year, create_time,
            delete_time
        FROM payment_methods WHERE owner = $1 AND delete_time IS NULL ORDER BY create_time DESC, id DESC LIMIT $2";
    session.rows(LIST, &[owner.into(), limit.into()]).await?.iter().map(read).collect()
}

/// Writes a new card.
pub async fn insert(unit: &mut Unit, method: &Method) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO payment_methods (id, owner, provider, token, brand, last_four, expire_month,
            expire_year, create_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

    let binds: [Bind; 9] = [
        (&method.id).into(),
        (&method.owner).into(),
        (&method.provider).into(),
        (&method.token).into(),
        (&method.brand).into(),
        (&method.last_four).into(),
        method.expire_month.into(),
        method.expire_year.into(),
        method.create_time.into(),
    ];
    unit.exec(INSERT, &binds).await.map(drop)
}

/// Removes a card of an owner; its provider has to forget it as soon as no payment waits for an answer about it. False if
/// there is none.
pub async fn delete(unit: &mut Unit, owner: &str, id: &str) -> Result<bool, Error> {
    const DELETE: &str = "UPDATE payment_methods SET delete_time = $3, due_time = $3
        WHERE id = $1 AND owner = $2 AND delete_time IS NULL";
    let now = unit.now();
    Ok(unit.exec(DELETE, &[id.into(), owner.into(), now.into()]).await? > 0)
}

/// Notes that the provider has forgotten a card.
pub async fn forgotten(unit: &mut Unit, id: &str) -> Result<(), Error> {
    const DONE: &str = "UPDATE payment_methods SET due_time = NULL WHERE id = $1";
    unit.exec(DONE, &[id.into()]).await.map(drop)
}

fn read(row: &Row) -> Result<Method, Error> {
    Ok(Method {
        id: row.text(0)?,
        owner: row.text(1)?,
        provider: row.text(2)?,
        token: row.text(3)?,
        brand: row.text(4)?,
        last_four: row.text(5)?,
        expire_month: row.int(6)?,
        expire_year: row.int(7)?,
        create_time: row.time(8)?,
        deleted: row.optional_time(9)?.is_some(),
    })
}
