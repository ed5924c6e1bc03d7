//! A withdrawal: money is held until the bank has paid or refused. Pure.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

use crate::hold::{self, Hold};

/// Where a withdrawal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The money is held and the bank was asked.
    Held,
    /// The bank has paid.
    Settled,
    /// The bank refused, and the money is available again.
    Rejected,
}

/// What may happen to a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The bank has paid.
    Settle,
    /// The bank will not pay.
    Reject,
}

/// Money that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// `wdl_…`.
    pub id: String,
    /// Whose, `usr_…`.
    pub owner: String,
    /// The code of the currency.
    pub code: String,
    /// How much, in atoms of the currency.
    pub atoms: i64,
    /// What holds the money, `hld_…`.
    pub hold_id: String,
    /// Where it stands.
    pub state: State,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

impl Withdrawal {
    /// The hold that keeps the money while the withdrawal waits.
    pub fn hold(&self) -> Hold {
        Hold {
            id: self.hold_id.clone(),
            owner: self.owner.clone(),
            code: self.code.clone(),
            atoms: self.atoms,
            posted: 0,
            state: hold::State::Held,
            reference: self.id.clone(),
            expire_time: None,
            create_time: self.create_time,
            update_time: self.create_time,
        }
    }
}

impl State {
    /// Every legal move; the hold ends with the withdrawal.
    ///
    /// # Errors
    /// `INVALID_STATE_TRANSITION`: a withdrawal ends once.
    pub fn decide(self, command: Command) -> Result<(State, hold::Command), Error> {
        match (self, command) {
            (State::Held, Command::Settle) => Ok((State::Settled, hold::Command::Post { atoms: None, last: true })),
            (State::Held, Command::Reject) => Ok((State::Rejected, hold::Command::Void)),
            (State::Settled | State::Rejected, _) => {
                let message = format!("The withdrawal has ended as {}.", self.name());
                Err(Error::new(Reason::InvalidStateTransition, message)
                    .with("from", self.name())
                    .with("to", command.target().name()))
            }
        }
    }

    /// The number of the last change that led here, from 1.
    pub fn sequence(self) -> i64 {
        match self {
            State::Held => 1,
            State::Settled | State::Rejected => 2,
        }
    }

    /// The state's name in a row and in an error.
    pub fn name(self) -> &'static str {
        match self {
            State::Held => "HELD",
            State::Settled => "SETTLED",
            State::Rejected => "REJECTED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        [State::Held, State::Settled, State::Rejected]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("there is no withdrawal state {name}")))
    }
}

impl Command {
    fn target(self) -> State {
        match self {
            Command::Settle => State::Settled,
            Command::Reject => State::Rejected,
        }
    }
}
