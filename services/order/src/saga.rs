//! What is under way on an order: one thing at a time. No await, no clock, no I/O.

use kit::{Error, Timestamp};

use crate::order::Rejection;

/// Where a saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is being carried out: the order, a shipment, a refund.
    Running,
    /// The order, or what is left of it, is being undone.
    Compensating,
    /// There is nothing to do for now.
    Succeeded,
    /// The order was undone.
    Compensated,
    /// It did not end in time, or was refused after there was no way back. An operator takes it up.
    Stuck,
}

/// What is under way on an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Saga {
    /// Where it stands.
    pub state: State,
    /// The step that is next, such as `reserve`.
    pub step: String,
    /// The shipment or the return that it is for; nothing if it is for the order itself.
    pub task: Option<String>,
    /// How often in a row it did not get on.
    pub attempts: i64,
    /// Until when it must have ended; a trade has all the time.
    pub deadline: Option<Timestamp>,
    /// What kept it from going on, the last time.
    pub last_error: Option<Rejection>,
    /// Until when whoever carries it out is left alone, or when it is tried again.
    pub next_attempt: Option<Timestamp>,
}

impl Saga {
    /// One that begins.
    pub fn begin(state: State, step: &str, deadline: Option<Timestamp>) -> Self {
        let step = step.to_owned();
        Self { state, step, task: None, attempts: 0, deadline, last_error: None, next_attempt: None }
    }

    /// One that has nothing to do any more.
    pub fn end(state: State) -> Self {
        Self::begin(state, "", None)
    }

    /// Whether something is to be done that nobody has given up.
    pub fn is_due(&self) -> bool {
        matches!(self.state, State::Running | State::Compensating)
    }

    /// Whether the order is free for something new.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Succeeded | State::Compensated)
    }

    /// Whether its time is over.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] =
        [State::Running, State::Compensating, State::Succeeded, State::Compensated, State::Stuck];

    /// The state's name in a row.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "RUNNING",
            State::Compensating => "COMPENSATING",
            State::Succeeded => "SUCCEEDED",
            State::Compensated => "COMPENSATED",
            State::Stuck => "STUCK",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no saga state {name}")))
    }
}
