//! A refund: money that is given back, and every move it can make. No await, no clock, no I/O.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

use crate::money::Currency;

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is noted, and nobody was asked yet.
    Pending,
    /// The provider was asked, and what it did is not known yet.
    Processing,
    /// The money was given back.
    Succeeded,
    /// The provider refused.
    Failed,
}

/// Money that is given back.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    /// `rfd_…`.
    pub id: String,
    /// `pay_…`.
    pub payment_id: String,
    /// `ord_…`.
    pub order_id: String,
    /// Who gets it, `usr_…`.
    pub owner: String,
    /// What it is counted in.
    pub currency: Currency,
    /// How much, in atoms.
    pub atoms: i64,
    /// Where it stands.
    pub state: State,
    /// What it is for.
    pub reference: String,
    /// Whether a service asked for it, and not a person.
    pub automatic: bool,
    /// Why it was refused.
    pub refusal: Option<Error>,
    /// The number of its last change, from 1; 0 before the first.
    pub sequence: i64,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What may happen to a refund.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The provider is about to be asked.
    Ask,
    /// The provider gave the money back.
    Succeed,
    /// The provider refused.
    Fail(Error),
}

impl Refund {
    /// Every legal move. Nothing if it was made before.
    ///
    /// # Errors
    /// `INVALID_STATE_TRANSITION`: a refund ends once, by what its provider says.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Option<Refund>, Error> {
        let (state, refusal) = match (self.state, command) {
            (State::Pending, Command::Ask) => (State::Processing, None),
            (State::Processing, Command::Succeed) => (State::Succeeded, None),
            (State::Pending | State::Processing, Command::Fail(refusal)) => (State::Failed, Some(refusal)),
            (State::Processing, Command::Ask)
            | (State::Succeeded, Command::Succeed)
            | (State::Failed, Command::Fail(_)) => return Ok(None),
            (from, command) => return Err(refuse(from, &command)),
        };
        Ok(Some(Refund { state, refusal, sequence: self.sequence + 1, update_time: now, ..self.clone() }))
    }
}

fn refuse(from: State, command: &Command) -> Error {
    let to = match command {
        Command::Ask => State::Processing,
        Command::Succeed => State::Succeeded,
        Command::Fail(_) => State::Failed,
    };
    Error::new(Reason::InvalidStateTransition, format!("The refund is {}, which does not allow this.", from.name()))
        .with("from", from.name())
        .with("to", to.name())
}

impl State {
    /// Every state.
    pub const ALL: [State; 4] = [State::Pending, State::Processing, State::Succeeded, State::Failed];

    /// Whether a refund may go from this state to that one.
    pub fn leads_to(self, to: State) -> bool {
        match self {
            State::Pending => matches!(to, State::Processing | State::Failed),
            State::Processing => matches!(to, State::Succeeded | State::Failed),
            State::Succeeded | State::Failed => false,
        }
    }

    /// The state's name in a row and in an error.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Processing => "PROCESSING",
            State::Succeeded => "SUCCEEDED",
            State::Failed => "FAILED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no refund state {name}")))
    }
}
