//! A hold: something of an account that is set aside until it was moved, in parts or at once, or is available again.
//! The same automaton for withdrawals and for what payment asks for. Pure.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is set aside, until the expiry if there is one.
    Held,
    /// It was moved, or as much of it as was wanted.
    Posted,
    /// What was left of it is available again.
    Voided,
    /// Nobody wanted it in time.
    Expired,
}

/// What may happen to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A part moves, or without a number everything that is left. What is left after the last part is let go.
    Post {
        /// How much, in atoms of the unit.
        atoms: Option<i64>,
        /// Whether it is the last part.
        last: bool,
    },
    /// It is not wanted any more.
    Void,
    /// Its time is over.
    Expire,
}

/// Something that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// `hld_…`.
    pub id: String,
    /// Whose, `usr_…`; empty if it was voided before it was made.
    pub owner: String,
    /// The code of the unit.
    pub code: String,
    /// How much was set aside, in atoms of the unit.
    pub atoms: i64,
    /// How much of it was moved.
    pub posted: i64,
    /// Where it stands.
    pub state: State,
    /// What it is for: `pay_…`, `wdl_…`.
    pub reference: String,
    /// Until when it is set aside.
    pub expire_time: Option<Timestamp>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What a command makes of a hold, and what that does to the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The hold afterwards.
    pub hold: Hold,
    /// How much moves on.
    pub moved: i64,
    /// How much becomes available again.
    pub freed: i64,
}

impl Hold {
    /// The mark that a hold with this id is never to be made.
    pub fn tombstone(id: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            owner: String::new(),
            code: String::new(),
            // The table takes no hold of nothing, and nobody counts those that have ended.
            atoms: 1,
            posted: 0,
            state: State::Voided,
            reference: String::new(),
            expire_time: None,
            create_time: now,
            update_time: now,
        }
    }

    /// Whether this is the mark of a hold that was voided before it was made.
    pub fn is_tombstone(&self) -> bool {
        self.owner.is_empty()
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|time| time <= now)
    }

    /// Whether a withdrawal ends this hold, and nobody else may.
    pub fn belongs_to_withdrawal(&self) -> bool {
        self.reference.starts_with("wdl_")
    }

    /// Refuses to give this hold as the answer to a request for `wanted`, which has the same id.
    ///
    /// # Errors
    /// `HOLD_ALREADY_VOIDED` if it was voided before it was made; `IDEMPOTENCY_KEY_REUSED` if something else is wanted.
    pub fn answers(&self, wanted: &Hold) -> Result<(), Error> {
        if self.is_tombstone() {
            return Err(self.ended());
        }
        let content =
            |hold: &Hold| (hold.owner.clone(), hold.code.clone(), hold.atoms, hold.reference.clone(), hold.expire_time);
        if content(self) == content(wanted) {
            return Ok(());
        }
        let message = "A hold with this id was made for something else. Derive the id from what it is for.";
        Err(Error::new(Reason::IdempotencyKeyReused, message).with("hold", &self.id))
    }

    /// Every legal move.
    ///
    /// # Errors
    /// `HOLD_EXPIRED`, `HOLD_ALREADY_POSTED`, `HOLD_ALREADY_VOIDED`, `EXCEEDS_HOLD`; `AMOUNT_OUT_OF_RANGE` for a part
    /// of nothing; `INVALID_STATE_TRANSITION` if its time is not over.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Step, Error> {
        let left = self.atoms - self.posted;
        match (self.state, command) {
            (State::Held, Command::Post { .. }) if self.is_over(now) => Err(self.expired()),
            (State::Held, Command::Post { atoms, last }) => {
                let moved = atoms.unwrap_or(left);
                if moved <= 0 {
                    let error = Error::new(Reason::AmountOutOfRange, "The amount must be more than zero.");
                    return Err(error.with("unit", &self.code));
                }
                if moved > left {
                    return Err(self.exceeded());
                }
                let state = if last || moved == left { State::Posted } else { State::Held };
                Ok(self.step(state, moved, if last { left - moved } else { 0 }, now))
            }
            (State::Held, Command::Void) => Ok(self.step(State::Voided, 0, left, now)),
            (State::Held, Command::Expire) if self.is_over(now) => Ok(self.step(State::Expired, 0, left, now)),
            (State::Held, Command::Expire) => {
                let error = Error::new(Reason::InvalidStateTransition, "The time of the hold is not over.");
                Err(error.with("hold", &self.id))
            }
            // Nothing is set aside any more, which is all that was asked for.
            (State::Voided | State::Expired, Command::Void) => Ok(Step { hold: self.clone(), moved: 0, freed: 0 }),
            (State::Posted | State::Voided | State::Expired, _) => Err(self.ended()),
        }
    }

    fn step(&self, state: State, moved: i64, freed: i64, now: Timestamp) -> Step {
        let hold = Hold { state, posted: self.posted + moved, update_time: now, ..self.clone() };
        Step { hold, moved, freed }
    }

    fn ended(&self) -> Error {
        let (reason, message) = match self.state {
            State::Posted => (Reason::HoldAlreadyPosted, "The hold was posted before."),
            State::Voided => (Reason::HoldAlreadyVoided, "The hold was voided before. Make another with another id."),
            State::Held | State::Expired => return self.expired(),
        };
        Error::new(reason, message).with("hold", &self.id)
    }

    fn expired(&self) -> Error {
        let message = "The time of the hold is over. Make another with another id.";
        Error::new(Reason::HoldExpired, message).with("hold", &self.id)
    }

    fn exceeded(&self) -> Error {
        let message = "This is more than the hold has left. Ask for less, or leave the amount out for all of it.";
        Error::new(Reason::ExceedsHold, message).with("hold", &self.id).with("unit", &self.code)
    }
}

impl State {
    /// The state's name in a row.
    pub fn name(self) -> &'static str {
        match self {
            State::Held => "HELD",
            State::Posted => "POSTED",
            State::Voided => "VOIDED",
            State::Expired => "EXPIRED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        [State::Held, State::Posted, State::Voided, State::Expired]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("there is no hold state {name}")))
    }
}
