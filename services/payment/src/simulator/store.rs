//! The books of the simulator: tables of its own, written in units of their own.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, Unit};

use super::cards::Behavior;
use crate::provider::Token;

/// Where a charge stands, as it is written. A pending one is authorized when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    RequiresAction,
    Authorized,
    Declined,
    Voided,
}

/// What the simulator knows of a charge.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    pub key: String,
    pub id: String,
    pub behavior: Behavior,
    pub unit: String,
    pub amount: String,
    pub atoms: i64,
    pub captured: i64,
    pub refunded: i64,
    pub state: State,
    pub ready_time: Timestamp,
    pub expire_time: Timestamp,
}

/// A callback that is to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub payload: String,
    pub copies: i64,
}

impl State {
    const ALL: [State; 5] = [State::Pending, State::RequiresAction, State::Authorized, State::Declined, State::Voided];

    fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::RequiresAction => "REQUIRES_ACTION",
            State::Authorized => "AUTHORIZED",
            State::Declined => "DECLINED",
            State::Voided => "VOIDED",
        }
    }

    fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no charge state {name}")))
    }
}

const FIND: &str = "SELECT key, id, behavior, unit, amount, atoms, captured, refunded, state, ready_time, expire_time
    FROM simulator_charges WHERE key = $1";

pub async fn charge(session: &mut Session, key: &str) -> Result<Option<Charge>, Error> {
    session.row(FIND, &[key.into()]).await?.as_ref().map(read).transpose()
}

pub async fn lock(unit: &mut Unit, key: &str) -> Result<Option<Charge>, Error> {
    unit.row_for_update(FIND, &[key.into()]).await?.as_ref().map(read).transpose()
}

/// Writes a new charge. False if there is one with this key.
pub async fn insert(unit: &mut Unit, charge: &Charge) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO simulator_charges (key, id, behavior, unit, amount, atoms, captured, refunded,
            state, ready_time, expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (key) DO NOTHING";
    let binds: [Bind; 11] = [
        (&charge.key).into(),
        (&charge.id).into(),
        charge.behavior.name().into(),
        (&charge.unit).into(),
        (&charge.amount).into(),
        charge.atoms.into(),
        charge.captured.into(),
        charge.refunded.into(),
        charge.state.name().into(),
        charge.ready_time.into(),
        charge.expire_time.into(),
    ];
    Ok(unit.exec(INSERT, &binds).await? > 0)
}

pub async fn save(unit: &mut Unit, charge: &Charge) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE simulator_charges SET state = $2, captured = $3, refunded = $4 WHERE key = $1";
    let binds: [Bind; 4] =
        [(&charge.key).into(), charge.state.name().into(), charge.captured.into(), charge.refunded.into()];
    unit.exec(UPDATE, &binds).await.map(drop)
}

/// The amount of a capture or refund that was carried out under this key.
pub async fn moved(session: &mut Session, key: &str) -> Result<Option<i64>, Error> {
    let row = session.row("SELECT atoms FROM simulator_moves WHERE key = $1", &[key.into()]).await?;
    row.map(|row| row.int(0)).transpose()
}

pub async fn note_move(unit: &mut Unit, key: &str, charge: &str, kind: &str, atoms: i64) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO simulator_moves (key, charge, kind, atoms) VALUES ($1, $2, $3, $4)";
    unit.exec(INSERT, &[key.into(), charge.into(), kind.into(), atoms.into()]).await.map(drop)
}

/// Counts a request, and says how many there were with it.
pub async fn attempt(unit: &mut Unit, key: &str) -> Result<i64, Error> {
    const COUNT: &str = "INSERT INTO simulator_attempts (key, count) VALUES ($1, 1)
        ON CONFLICT (key) DO UPDATE SET count = simulator_attempts.count + 1 RETURNING count";
    let row = unit.row(COUNT, &[key.into()]).await?;
    row.ok_or_else(|| Error::internal("an attempt was not counted"))?.int(0)
}

/// Keeps a card under a key, again if it was forgotten. Two that ask at once are one after the other, since the key is
/// unique.
pub async fn insert_card(unit: &mut Unit, key: &str, token: &Token, behavior: Behavior) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO simulator_cards (token, behavior, key) VALUES ($1, $2, $3)
        ON CONFLICT (key) DO UPDATE SET token = excluded.token, behavior = excluded.behavior, forget_time = NULL
        WHERE simulator_cards.forget_time IS NOT NULL";
    match unit.exec(INSERT, &[token.reveal().into(), behavior.name().into(), key.into()]).await? {
        0 => Err(Error::new(Reason::SerializationFailure, "The card is being kept. Ask again.")),
        _ => Ok(()),
    }
}

/// The token of the card that is kept under a key.
pub async fn card_kept(session: &mut Session, key: &str) -> Result<Option<Token>, Error> {
    const FIND: &str = "SELECT token FROM simulator_cards WHERE key = $1 AND forget_time IS NULL";
    let row = session.row(FIND, &[key.into()]).await?;
    row.map(|row| row.text(0).map(Token::new)).transpose()
}

/// What the card of a token does; nothing if there is none, or it is forgotten.
pub async fn card(session: &mut Session, token: &Token) -> Result<Option<Behavior>, Error> {
    const FIND: &str = "SELECT behavior FROM simulator_cards WHERE token = $1 AND forget_time IS NULL";
    let row = session.row(FIND, &[token.reveal().into()]).await?;
    row.map(|row| Behavior::named(&row.text(0)?)).transpose()
}

pub async fn forget_card(unit: &mut Unit, token: &Token) -> Result<(), Error> {
    const FORGET: &str = "UPDATE simulator_cards SET forget_time = $2 WHERE token = $1 AND forget_time IS NULL";
    let now = unit.now();
    unit.exec(FORGET, &[token.reveal().into(), now.into()]).await.map(drop)
}

pub async fn insert_callback(unit: &mut Unit, message: &Message, send_time: Timestamp) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO simulator_callbacks (id, payload, copies, send_time) VALUES ($1, $2, $3, $4)";
    let binds: [Bind; 4] = [(&message.id).into(), (&message.payload).into(), message.copies.into(), send_time.into()];
    unit.exec(INSERT, &binds).await.map(drop)
}

/// Callbacks whose time has come, the oldest first.
pub async fn due_callbacks(session: &mut Session, now: Timestamp, limit: i64) -> Result<Vec<Message>, Error> {
    const DUE: &str = "SELECT id, payload, copies FROM simulator_callbacks
        WHERE send_time <= $1 ORDER BY send_time, id LIMIT $2";
    let rows = session.rows(DUE, &[now.into(), limit.into()]).await?;
    rows.iter().map(message).collect()
}

/// A callback that was not taken yet.
pub async fn callback(session: &mut Session, id: &str) -> Result<Option<Message>, Error> {
    const FIND: &str = "SELECT id, payload, copies FROM simulator_callbacks WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.as_ref().map(message).transpose()
}

pub async fn remove_callback(unit: &mut Unit, id: &str) -> Result<(), Error> {
    unit.exec("DELETE FROM simulator_callbacks WHERE id = $1", &[id.into()]).await.map(drop)
}

pub async fn postpone_callback(unit: &mut Unit, id: &str, until: Timestamp) -> Result<(), Error> {
    const POSTPONE: &str = "UPDATE simulator_callbacks SET send_time = $2 WHERE id = $1";
    unit.exec(POSTPONE, &[id.into(), until.into()]).await.map(drop)
}

fn message(row: &Row) -> Result<Message, Error> {
    Ok(Message { id: row.text(0)?, payload: row.text(1)?, copies: row.int(2)? })
}

fn read(row: &Row) -> Result<Charge, Error> {
    Ok(Charge {
        key: row.text(0)?,
        id: row.text(1)?,
        behavior: Behavior::named(&row.text(2)?)?,
        unit: row.text(3)?,
        amount: row.text(4)?,
        atoms: row.int(5)?,
        captured: row.int(6)?,
        refunded: row.int(7)?,
        state: State::named(&row.text(8)?)?,
        ready_time: row.time(9)?,
        expire_time: row.time(10)?,
    })
}
