//! What was taken of payments, by shipment.

use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, Unit};

use super::refusal;

/// Money that is taken for a shipment.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// `pay_…`.
    pub payment_id: String,
    /// `shp_…`.
    pub shipment_id: String,
    /// How much was asked for, in atoms; nothing for everything that was left.
    pub asked: Option<i64>,
    /// How much that is, in atoms.
    pub atoms: i64,
    /// Whether the rest is let go.
    pub last: bool,
    /// Where it stands.
    pub state: State,
    /// Why the provider refused.
    pub refusal: Option<Error>,
}

/// Where a capture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The provider was asked.
    Processing,
    /// The money was taken.
    Succeeded,
    /// The provider refused.
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Processing => "PROCESSING",
            State::Succeeded => "SUCCEEDED",
            State::Failed => "FAILED",
        }
    }

    fn named(name: &str) -> Result<Self, Error> {
        let found = [State::Processing, State::Succeeded, State::Failed].into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no capture state {name}")))
    }
}

/// What was taken for a shipment.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, payment_id: &str, shipment_id: &str) -> Result<Option<Capture>, Error> {
    const FIND: &str = "SELECT payment_id, shipment_id, asked, atoms, last, state, refusal
        FROM captures WHERE payment_id = $1 AND shipment_id = $2";
    session.row(FIND, &[payment_id.into(), shipment_id.into()]).await?.as_ref().map(read).transpose()
}

/// Whether the last capture of a payment is under way.
pub async fn closing(session: &mut Session, payment_id: &str) -> Result<bool, Error> {
    const FIND: &str = "SELECT 1 FROM captures WHERE payment_id = $1 AND last = 1 AND state = 'PROCESSING' LIMIT 1";
    Ok(session.row(FIND, &[payment_id.into()]).await?.is_some())
}

/// Writes a capture, new or ended. `soon` is when somebody looks after it, if an answer is missing by then.
pub async fn save(unit: &mut Unit, capture: &Capture, soon: Timestamp) -> Result<(), Error> {
    const SAVE: &str = "INSERT INTO captures (payment_id, shipment_id, asked, atoms, last, state, refusal, due_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (payment_id, shipment_id) DO UPDATE SET state = $6, refusal = $7, due_time = $8";

    let due_time = Some(soon).filter(|_| capture.state == State::Processing);
    let binds: [Bind; 8] = [
        (&capture.payment_id).into(),
        (&capture.shipment_id).into(),
        capture.asked.into(),
        capture.atoms.into(),
        i64::from(capture.last).into(),
        capture.state.name().into(),
        capture.refusal.as_ref().map(Error::encode).into(),
        due_time.into(),
    ];
    unit.exec(SAVE, &binds).await.map(drop)
}

fn read(row: &Row) -> Result<Capture, Error> {
    Ok(Capture {
        payment_id: row.text(0)?,
        shipment_id: row.text(1)?,
        asked: row.optional_int(2)?,
        atoms: row.int(3)?,
        last: row.int(4)? != 0,
        state: State::named(&row.text(5)?)?,
        refusal: refusal(row, 6)?,
    })
}
