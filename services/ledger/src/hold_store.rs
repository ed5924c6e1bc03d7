//! The SQL of holds.

use kit::{Error, Scope, Timestamp};
use storage::{Bind, Row, Session};

use crate::hold::{Hold, State};

/// Writes a new hold, unless there is one with its id. Says whether it did.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn insert(session: &mut Session, hold: &Hold) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO holds
        (id, owner, unit, atoms, posted, state, reference, expire_time, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";

    let Hold { id, owner, code, atoms, posted, state, reference, expire_time, create_time, update_time } = hold;
    let binds: [Bind; 10] = [
        id.into(),
        owner.into(),
        code.into(),
        (*atoms).into(),
        (*posted).into(),
        state.name().into(),
        reference.into(),
        expire_time.map(Timestamp::micros).into(),
        (*create_time).into(),
        (*update_time).into(),
    ];
    Ok(session.exec(INSERT, &binds).await? == 1)
}

/// Writes what has changed of a hold that was held.
pub async fn save(session: &mut Session, hold: &Hold) -> Result<(), Error> {
    const SAVE: &str = "UPDATE holds SET state = $2, posted = $3, update_time = $4 WHERE id = $1 AND state = 'HELD'";

    let binds = [(&hold.id).into(), hold.state.name().into(), hold.posted.into(), hold.update_time.into()];
    if session.exec(SAVE, &binds).await? == 1 {
        return Ok(());
    }
    Err(Error::internal(format!("{} was not held when it was to change", hold.id)))
}

/// A hold.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Hold>, Error> {
    session.row(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(hold).transpose()
}

/// A hold, locked until the unit ends.
pub async fn lock(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Hold>, Error> {
    session.row_for_update(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(hold).transpose()
}

const FIND: &str = "SELECT id, owner, unit, atoms, posted, state, reference, expire_time, create_time, update_time
    FROM holds WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

/// Holds after a place in the list of the newest first, in one state or in any.
pub async fn list(
    session: &mut Session,
    scope: &Scope,
    state: Option<State>,
    (time, id): (Timestamp, &str),
    limit: i64,
) -> Result<Vec<Hold>, Error> {
    const OF_ANY: &str =
        "SELECT id, owner, unit, atoms, posted, state, reference, expire_time, create_time, update_time FROM holds
        WHERE (create_time, id) < ($1, $2) AND (CAST($4 AS TEXT) IS NULL OR owner = $4)
        ORDER BY create_time DESC, id DESC LIMIT $3";
    const OF_STATE: &str =
        "SELECT id, owner, unit, atoms, posted, state, reference, expire_time, create_time, update_time FROM holds
        WHERE (create_time, id) < ($1, $2) AND (CAST($4 AS TEXT) IS NULL OR owner = $4) AND state = $5
        ORDER BY create_time DESC, id DESC LIMIT $3";

    let mut binds: Vec<Bind> = vec![time.into(), id.into(), limit.into(), scope.owner().into()];
    let rows = match state {
        None => session.rows(OF_ANY, &binds).await?,
        Some(state) => {
            binds.push(state.name().into());
            session.rows(OF_STATE, &binds).await?
        }
    };
    rows.iter().map(hold).collect()
}

/// The ids of holds whose time is over, the longest first.
pub async fn overdue(session: &mut Session, now: Timestamp, limit: i64) -> Result<Vec<String>, Error> {
    const OVERDUE: &str =
        "SELECT id FROM holds WHERE state = 'HELD' AND expire_time <= $1 ORDER BY expire_time LIMIT $2";
    session.rows(OVERDUE, &[now.into(), limit.into()]).await?.iter().map(|row| row.text(0)).collect()
}

fn hold(row: &Row) -> Result<Hold, Error> {
    Ok(Hold {
        id: row.text(0)?,
        owner: row.text(1)?,
        code: row.text(2)?,
        atoms: row.int(3)?,
        posted: row.int(4)?,
        state: State::named(&row.text(5)?)?,
        reference: row.text(6)?,
        expire_time: row.optional_time(7)?,
        create_time: row.time(8)?,
        update_time: row.time(9)?,
    })
}
