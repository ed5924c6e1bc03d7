//! The SQL. A user and the fact about it are saved in one unit.

use contracts::{
    r#type::v1::Reason,
    user::v1::{Address, UserEvent, user_event::Event},
};
use kit::{Error, Scope, Timestamp};
use storage::{Fact, Row, Session, Unit};

use crate::user::User;

/// What a login is checked against.
pub struct Credential {
    /// The user.
    pub user_id: String,
    /// The PHC string of the password.
    pub password_hash: String,
}

/// Adds a user who has just been opened.
pub async fn insert(unit: &mut Unit, user: &User, password_hash: &str, event: Event) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO users
        (id, email, display_name, language, currency, password_hash, version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (email) DO NOTHING";

    let binds = [
        (&user.id).into(),
        (&user.email).into(),
        (&user.display_name).into(),
        (&user.language).into(),
        (&user.currency).into(),
        password_hash.into(),
        user.version.into(),
        user.create_time.into(),
        user.update_time.into(),
    ];
    if unit.exec(INSERT, &binds).await? == 0 {
        let message = "There is an account with this email. Log in, or use another email.";
        return Err(Error::new(Reason::AlreadyExistsEmail, message));
    }
    publish(unit, user, event)
}

/// Saves a changed user. Whoever loaded it with [`load_for_update`] is alone with it.
pub async fn save(unit: &mut Unit, user: &User, event: Event) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE users
        SET display_name = $2, language = $3, currency = $4, version = $5, update_time = $6
        WHERE id = $1 AND version = $5 - 1";

    let binds = [
        (&user.id).into(),
        (&user.display_name).into(),
        (&user.language).into(),
        (&user.currency).into(),
        user.version.into(),
        user.update_time.into(),
    ];
    if unit.exec(UPDATE, &binds).await? == 0 {
        return Err(conflict());
    }
    publish(unit, user, event)
}

/// Replaces a password's hash, if it is still `old`: whoever verified the old password knew that one.
pub async fn replace_hash(unit: &mut Unit, user_id: &str, old: &str, new: &str) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
    match unit.exec(UPDATE, &[user_id.into(), old.into(), new.into()]).await? {
        0 => Err(conflict()),
        _ => Ok(()),
    }
}

fn publish(unit: &mut Unit, user: &User, event: Event) -> Result<(), Error> {
    let message = UserEvent { user_id: user.id.clone(), event: Some(event) };
    unit.fact(&Fact { aggregate: &user.id, sequence: user.version, message: &message })
}

fn conflict() -> Error {
    Error::new(Reason::SerializationFailure, "Another change of this account was faster. Try again.")
}

/// The user with this id, if the scope reaches it.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<User, Error> {
    const FIND: &str = "SELECT id, email, display_name, language, currency, version, create_time, update_time
        FROM users WHERE id = $1";
    reach(scope, id)?;
    session.row(FIND, &[id.into()]).await?.as_ref().map_or_else(|| Err(not_found("user", id)), read)
}

/// The user with this id, locked until the unit ends.
pub async fn load_for_update(unit: &mut Unit, scope: &Scope, id: &str) -> Result<User, Error> {
    const FIND: &str = "SELECT id, email, display_name, language, currency, version, create_time, update_time
        FROM users WHERE id = $1";
    reach(scope, id)?;
    unit.row_for_update(FIND, &[id.into()]).await?.as_ref().map_or_else(|| Err(not_found("user", id)), read)
}

/// A page of users, the newest first, after the one with these sort keys.
pub async fn list(session: &mut Session, after: (Timestamp, &str), limit: i64) -> Result<Vec<User>, Error> {
    const LIST: &str = "SELECT id, email, display_name, language, currency, version, create_time, update_time
        FROM users WHERE (create_time, id) < ($1, $2) ORDER BY create_time DESC, id DESC LIMIT $3";
    session.rows(LIST, &[after.0.into(), after.1.into(), limit.into()]).await?.iter().map(read).collect()
}

/// The credential of the account with this email.
pub async fn credential(session: &mut Session, email: &str) -> Result<Option<Credential>, Error> {
    const FIND: &str = "SELECT id, password_hash FROM users WHERE email = $1";
    session.row(FIND, &[email.into()]).await?.as_ref().map(read_credential).transpose()
}

/// The credential of a user.
pub async fn credential_of(session: &mut Session, user_id: &str) -> Result<Credential, Error> {
    const FIND: &str = "SELECT id, password_hash FROM users WHERE id = $1";
    let row = session.row(FIND, &[user_id.into()]).await?;
    row.as_ref().map_or_else(|| Err(not_found("user", user_id)), read_credential)
}

/// Adds an address to a user's.
pub async fn insert_address(unit: &mut Unit, user_id: &str, address: &Address) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO addresses
        (id, user_id, recipient, lines, city, postal_code, country_code, create_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

    let lines = serde_json::to_string(&address.lines).map_err(Error::internal)?;
    let binds = [
        (&address.id).into(),
        user_id.into(),
        (&address.recipient).into(),
        lines.into(),
        (&address.city).into(),
        (&address.postal_code).into(),
        (&address.country_code).into(),
        created(address).into(),
    ];
    unit.exec(INSERT, &binds).await.map(drop)
}

/// How many addresses a user keeps.
pub async fn count_addresses(session: &mut Session, user_id: &str) -> Result<i64, Error> {
    const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM addresses WHERE user_id = $1";
    session.row(COUNT, &[user_id.into()]).await?.map_or(Ok(0), |row| row.int(0))
}

/// A page of a user's addresses, the newest first, after the one with these sort keys.
pub async fn list_addresses(
    session: &mut Session,
    user_id: &str,
    after: (Timestamp, &str),
    limit: i64,
) -> Result<Vec<Address>, Error> {
    const LIST: &str = "SELECT id, recipient, lines, city, postal_code, country_code, create_time
        FROM addresses WHERE user_id = $1 AND (create_time, id) < ($2, $3)
        ORDER BY create_time DESC, id DESC LIMIT $4";
    let binds = [user_id.into(), after.0.into(), after.1.into(), limit.into()];
    session.rows(LIST, &binds).await?.iter().map(read_address).collect()
}

/// Removes an address of a user.
pub async fn delete_address(unit: &mut Unit, user_id: &str, id: &str) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM addresses WHERE id = $1 AND user_id = $2";
    match unit.exec(DELETE, &[id.into(), user_id.into()]).await? {
        0 => Err(not_found("address", id)),
        _ => Ok(()),
    }
}

/// When an address was added.
pub fn created(address: &Address) -> Timestamp {
    address.create_time.as_ref().map(Timestamp::from_proto).unwrap_or_default()
}

/// A user is its own owner.
fn reach(scope: &Scope, id: &str) -> Result<(), Error> {
    match scope.owner() {
        Some(owner) if owner != id => Err(not_found("user", id)),
        _ => Ok(()),
    }
}

fn not_found(resource: &str, id: &str) -> Error {
    Error::new(Reason::ResourceNotFound, format!("There is no {resource} `{id}` that you may see."))
        .with("resource", id)
}

fn read(row: &Row) -> Result<User, Error> {
    Ok(User {
        id: row.text(0)?,
        email: row.text(1)?,
        display_name: row.text(2)?,
        language: row.text(3)?,
        currency: row.text(4)?,
        version: row.int(5)?,
        create_time: row.time(6)?,
        update_time: row.time(7)?,
    })
}

fn read_credential(row: &Row) -> Result<Credential, Error> {
    Ok(Credential { user_id: row.text(0)?, password_hash: row.text(1)? })
}

fn read_address(row: &Row) -> Result<Address, Error> {
    Ok(Address {
        id: row.text(0)?,
        recipient: row.text(1)?,
        lines: serde_json::from_str(&row.text(2)?).map_err(Error::internal)?,
        city: row.text(3)?,
        postal_code: row.text(4)?,
        country_code: row.text(5)?,
        create_time: Some(row.time(6)?.to_proto()),
    })
}
