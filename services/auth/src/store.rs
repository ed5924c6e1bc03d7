//! The SQL.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};
use storage::{Row, Session as Db, Unit};

use crate::{keys::StoredKey, lockout::Failures, role::Account, session::Session};

/// How many old rows of a kind one unit removes.
const SWEEP: i64 = 500;

/// The account of a user, made if it is not there, and locked until the unit ends. Whatever opens or ends logins of a
/// user takes this lock first.
pub async fn lock_account(unit: &mut Unit, user_id: &str) -> Result<Account, Error> {
    const TAKE: &str = "INSERT INTO accounts (user_id, roles, version, valid_from) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id
        RETURNING user_id, roles, version, valid_from";
    let row = unit.row(TAKE, &account_binds(&Account::new(user_id))).await?;
    row.as_ref().map_or_else(|| Err(Error::internal("an upsert returned no row")), read_account)
}

/// The account of a user, as it is.
pub async fn account(db: &mut Db, user_id: &str) -> Result<Account, Error> {
    const FIND: &str = "SELECT user_id, roles, version, valid_from FROM accounts WHERE user_id = $1";
    db.row(FIND, &[user_id.into()]).await?.as_ref().map_or_else(|| Ok(Account::new(user_id)), read_account)
}

/// Saves an account that is locked, and ends the logins that began before it changed.
pub async fn save_account(unit: &mut Unit, account: &Account) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE accounts SET roles = $2, version = $3, valid_from = $4 WHERE user_id = $1";
    const END: &str = "UPDATE sessions SET end_time = $3
        WHERE user_id = $1 AND end_time IS NULL AND create_time <= $2";
    unit.exec(UPDATE, &account_binds(account)).await?;
    let binds = [(&account.user_id).into(), account.valid_from.into(), unit.now().into()];
    unit.exec(END, &binds).await.map(drop)
}

/// Ends every login of a user that began before `time`, one that is still on its way included.
pub async fn end_logins_before(unit: &mut Unit, user_id: &str, time: Timestamp) -> Result<(), Error> {
    let account = lock_account(unit, user_id).await?;
    save_account(unit, &Account { valid_from: account.valid_from.max(time), ..account }).await
}

/// Adds a session and its first refresh token, and ends the oldest of more than `most`.
pub async fn open_session(unit: &mut Unit, session: &Session, token: &[u8], most: i64) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO sessions
        (id, user_id, device, create_time, refresh_time, expire_time, token_expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    const END_OLDEST: &str = "UPDATE sessions SET end_time = $2 WHERE id IN
        (SELECT id FROM sessions WHERE user_id = $1 AND end_time IS NULL AND expire_time > $2
         ORDER BY create_time DESC, id DESC LIMIT 1000 OFFSET $3)";

    let binds = [
        (&session.id).into(),
        (&session.user_id).into(),
        (&session.device).into(),
        session.create_time.into(),
        session.refresh_time.into(),
        session.expire_time.into(),
        session.token_expire_time.into(),
    ];
    unit.exec(INSERT, &binds).await?;
    insert_token(unit, &session.id, token).await?;
    let binds = [(&session.user_id).into(), unit.now().into(), most.into()];
    unit.exec(END_OLDEST, &binds).await.map(drop)
}

/// Saves a refreshed session and its next refresh token.
pub async fn refresh_session(unit: &mut Unit, session: &Session, token: &[u8]) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE sessions SET refresh_time = $2, expire_time = $3, token_expire_time = $4
        WHERE id = $1";
    let binds = [
        (&session.id).into(),
        session.refresh_time.into(),
        session.expire_time.into(),
        session.token_expire_time.into(),
    ];
    unit.exec(UPDATE, &binds).await?;
    insert_token(unit, &session.id, token).await
}

async fn insert_token(unit: &mut Unit, session_id: &str, hash: &[u8]) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2)";
    unit.exec(INSERT, &[hash.into(), session_id.into()]).await.map(drop)
}

/// Takes a refresh token out of use. The session it belonged to, if it was still good: of two who try, one succeeds.
pub async fn spend_token(unit: &mut Unit, hash: &[u8]) -> Result<Option<String>, Error> {
    const SPEND: &str = "UPDATE refresh_tokens SET spent_time = $2 WHERE hash = $1 AND spent_time IS NULL
        RETURNING session_id";
    let binds = [hash.into(), unit.now().into()];
    unit.row(SPEND, &binds).await?.map(|row| row.text(0)).transpose()
}

/// The session to which a refresh token belongs, spent or not.
pub async fn session_of_token(db: &mut Db, hash: &[u8]) -> Result<Option<String>, Error> {
    const FIND: &str = "SELECT session_id FROM refresh_tokens WHERE hash = $1";
    db.row(FIND, &[hash.into()]).await?.map(|row| row.text(0)).transpose()
}

/// A session, locked until the unit ends.
pub async fn load_for_update(unit: &mut Unit, id: &str) -> Result<Session, Error> {
    const FIND: &str = "SELECT id, user_id, device, create_time, refresh_time, expire_time, token_expire_time, end_time
        FROM sessions WHERE id = $1";
    unit.row_for_update(FIND, &[id.into()]).await?.as_ref().map_or_else(|| Err(not_found(id)), read_session)
}

/// Ends a session; one that has ended stays so. With an owner, only a session of that user.
pub async fn end_session(unit: &mut Unit, owner: Option<&str>, id: &str) -> Result<(), Error> {
    const END: &str = "UPDATE sessions SET end_time = $2 WHERE id = $1 AND end_time IS NULL";
    let session = load_for_update(unit, id).await?;
    if owner.is_some_and(|owner| owner != session.user_id) {
        return Err(not_found(id));
    }
    let binds = [id.into(), unit.now().into()];
    unit.exec(END, &binds).await.map(drop)
}

/// A page of a user's living sessions, the newest first, after the one with these sort keys.
pub async fn list_sessions(
    db: &mut Db,
    user_id: &str,
    now: Timestamp,
    after: (Timestamp, &str),
    limit: i64,
) -> Result<Vec<Session>, Error> {
    const LIST: &str = "SELECT id, user_id, device, create_time, refresh_time, expire_time, token_expire_time, end_time
        FROM sessions WHERE user_id = $1 AND end_time IS NULL AND expire_time > $2 AND (create_time, id) < ($3, $4)
        ORDER BY create_time DESC, id DESC LIMIT $5";
    let binds = [user_id.into(), now.into(), after.0.into(), after.1.into(), limit.into()];
    db.rows(LIST, &binds).await?.iter().map(read_session).collect()
}

/// Sessions that ended after `since` while tokens of theirs were good, and until when these are.
pub async fn revocations(db: &mut Db, since: Timestamp, now: Timestamp) -> Result<Vec<(String, Timestamp)>, Error> {
    const ENDED: &str = "SELECT id, token_expire_time FROM sessions WHERE end_time > $1 AND token_expire_time > $2";
    let rows = db.rows(ENDED, &[since.into(), now.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.time(1)?))).collect()
}

/// The wrong passwords of an account key.
pub async fn failures(db: &mut Db, account: &[u8]) -> Result<Failures, Error> {
    const FIND: &str = "SELECT failures, last_time, lock_until FROM login_failures WHERE account = $1";
    db.row(FIND, &[account.into()]).await?.as_ref().map_or_else(|| Ok(Failures::default()), read_failures)
}

/// The wrong passwords of an account key, locked until the unit ends.
pub async fn lock_failures(unit: &mut Unit, account: &[u8]) -> Result<Failures, Error> {
    const TAKE: &str = "INSERT INTO login_failures (account, failures, last_time, lock_until) VALUES ($1, 0, 0, 0)
        ON CONFLICT (account) DO UPDATE SET account = excluded.account
        RETURNING failures, last_time, lock_until";
    let row = unit.row(TAKE, &[account.into()]).await?;
    row.as_ref().map_or_else(|| Ok(Failures::default()), read_failures)
}

/// Saves the wrong passwords of an account key that is locked.
pub async fn save_failures(unit: &mut Unit, account: &[u8], failures: &Failures) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE login_failures SET failures = $2, last_time = $3, lock_until = $4 WHERE account = $1";
    let binds = [account.into(), failures.count.into(), failures.last.into(), failures.lock_until.into()];
    unit.exec(UPDATE, &binds).await.map(drop)
}

/// Forgets the wrong passwords of an account key.
pub async fn forget_failures(unit: &mut Unit, account: &[u8]) -> Result<(), Error> {
    unit.exec("DELETE FROM login_failures WHERE account = $1", &[account.into()]).await.map(drop)
}

/// The keys that verify tokens, the newest first.
pub async fn keys(db: &mut Db, now: Timestamp) -> Result<Vec<StoredKey>, Error> {
    const LIST: &str = "SELECT kid, x, sealed, create_time, sign_time, expire_time FROM signing_keys
        WHERE expire_time IS NULL OR expire_time > $1 ORDER BY sign_time DESC, kid DESC LIMIT 100";
    db.rows(LIST, &[now.into()]).await?.iter().map(read_key).collect()
}

/// Adds a key; its predecessors verify until `expire`.
pub async fn insert_key(unit: &mut Unit, key: &StoredKey, expire: Timestamp) -> Result<(), Error> {
    const RETIRE: &str = "UPDATE signing_keys SET expire_time = $1 WHERE expire_time IS NULL";
    const INSERT: &str =
        "INSERT INTO signing_keys (kid, x, sealed, create_time, sign_time) VALUES ($1, $2, $3, $4, $5)";
    unit.exec(RETIRE, &[expire.into()]).await?;
    let sealed = key.sealed.as_slice().into();
    let binds = [(&key.kid).into(), (&key.x).into(), sealed, key.create_time.into(), key.sign_time.into()];
    unit.exec(INSERT, &binds).await.map(drop)
}

/// Removes some of what nobody asks for any more: sessions and keys that were over before `over`, refresh tokens spent
/// before `spent`, wrong passwords from before `failed`. Whether there may be more.
pub async fn sweep(unit: &mut Unit, over: Timestamp, spent: Timestamp, failed: Timestamp) -> Result<bool, Error> {
    const TOKENS_OVER: &str = "DELETE FROM refresh_tokens WHERE session_id IN
        (SELECT id FROM sessions WHERE expire_time < $1 OR end_time < $1 ORDER BY id LIMIT $2)";
    const SESSIONS: &str = "DELETE FROM sessions WHERE id IN
        (SELECT id FROM sessions WHERE expire_time < $1 OR end_time < $1 ORDER BY id LIMIT $2)";
    const TOKENS: &str = "DELETE FROM refresh_tokens WHERE hash IN
        (SELECT hash FROM refresh_tokens WHERE spent_time < $1 LIMIT $2)";
    const FAILURES: &str = "DELETE FROM login_failures WHERE account IN
        (SELECT account FROM login_failures WHERE last_time < $1 LIMIT $2)";
    const KEYS: &str = "DELETE FROM signing_keys WHERE expire_time < $1";

    unit.exec(TOKENS_OVER, &[over.into(), SWEEP.into()]).await?;
    let sessions = unit.exec(SESSIONS, &[over.into(), SWEEP.into()]).await?;
    let tokens = unit.exec(TOKENS, &[spent.into(), SWEEP.into()]).await?;
    let failures = unit.exec(FAILURES, &[failed.into(), SWEEP.into()]).await?;
    unit.exec(KEYS, &[over.into()]).await?;
    Ok(sessions.max(tokens).max(failures) >= SWEEP.unsigned_abs())
}

fn not_found(id: &str) -> Error {
    Error::new(Reason::ResourceNotFound, format!("You have no session `{id}`.")).with("resource", id)
}

fn account_binds(account: &Account) -> [storage::Bind; 4] {
    let roles = account.roles.join(" ");
    [(&account.user_id).into(), roles.into(), account.version.into(), account.valid_from.into()]
}

fn read_account(row: &Row) -> Result<Account, Error> {
    Ok(Account {
        user_id: row.text(0)?,
        roles: row.text(1)?.split_whitespace().map(str::to_owned).collect(),
        version: row.int(2)?,
        valid_from: row.time(3)?,
    })
}

fn read_session(row: &Row) -> Result<Session, Error> {
    Ok(Session {
        id: row.text(0)?,
        user_id: row.text(1)?,
        device: row.text(2)?,
        create_time: row.time(3)?,
        refresh_time: row.time(4)?,
        expire_time: row.time(5)?,
        token_expire_time: row.time(6)?,
        end_time: row.optional_time(7)?,
    })
}

fn read_failures(row: &Row) -> Result<Failures, Error> {
    Ok(Failures { count: row.int(0)?, last: row.time(1)?, lock_until: row.time(2)? })
}

fn read_key(row: &Row) -> Result<StoredKey, Error> {
    Ok(StoredKey {
        kid: row.text(0)?,
        x: row.text(1)?,
        sealed: row.bytes(2)?,
        create_time: row.time(3)?,
        sign_time: row.time(4)?,
        expire_time: row.optional_time(5)?,
    })
}
