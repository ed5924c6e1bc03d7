//! An order: what it is, and every move it can make. No await, no clock, no I/O.

use contracts::{ledger::v1::Entry, r#type::v1::Reason};
use kit::{Error, Timestamp};

pub use crate::{
    command::{Command, Fact},
    trade::{Side, Trade},
};
use crate::{
    purchase::Purchase,
    saga::{self, Saga},
};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is noted, and being carried out.
    Pending,
    /// The goods are set aside and the money is secured.
    Confirmed,
    /// A part of the goods is shipped and paid.
    PartiallyFulfilled,
    /// It is carried out.
    Fulfilled,
    /// It is carried out, and the time to return goods is over.
    Completed,
    /// It is being undone.
    Cancelling,
    /// It was undone.
    Cancelled,
    /// It was refused, and nothing of it happened.
    Rejected,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An asset for money.
    Trade(Box<Trade>),
    /// Goods for money.
    Purchase(Purchase),
}

/// Why an order was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A value of the reason enum, such as `INSUFFICIENT_FUNDS`.
    pub reason: String,
    /// A sentence that says what to do.
    pub message: String,
}

/// What someone asked for, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// `ord_…`.
    pub id: String,
    /// Whose it is, `usr_…`.
    pub owner: String,
    /// Where it stands.
    pub state: State,
    /// What was asked for.
    pub kind: Kind,
    /// The quote that it used up, `quo_…`.
    pub quote_id: Option<String>,
    /// The transaction that moved money and asset of a trade, `txn_…`.
    pub transaction_id: Option<String>,
    /// Why it was refused, or will be once it is undone; or why what was not shipped is undone though nobody asked for it.
    pub rejection: Option<Rejection>,
    /// What is under way.
    pub saga: Saga,
    /// When the time to return goods is over.
    pub close_time: Option<Timestamp>,
    /// The number of its last change, from 1.
    pub sequence: i64,
    /// How many facts were told about it when it was read.
    pub facts: i64,
    /// When it was placed.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// A move of a purchase: the state, the purchase and the saga after it, and what became true.
type Move = (State, Purchase, Saga, &'static [Fact]);

impl Order {
    /// A new order, and the fact of it. `deadline` is when it must have been carried out.
    pub fn place(
        id: String,
        owner: String,
        kind: Kind,
        quote_id: Option<String>,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> (Self, &'static [Fact]) {
        let step = match kind {
            Kind::Trade(_) => "settle",
            Kind::Purchase(_) => "reserve",
        };
        let order = Self {
            id,
            owner,
            state: State::Pending,
            kind,
            quote_id,
            transaction_id: None,
            rejection: None,
            saga: Saga::begin(saga::State::Running, step, deadline),
            close_time: None,
            sequence: 1,
            facts: 1,
            create_time: now,
            update_time: now,
        };
        (order, &[Fact::Created])
    }

    /// Every legal move: the order after it, and what became true.
    ///
    /// # Errors
    /// `INVALID_STATE_TRANSITION` if there is no such move from here, `ORDER_NOT_CANCELLABLE` for a cancellation;
    /// `LOCK_CONFLICT` while something else is under way; what the purchase refuses.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<(Self, &'static [Fact]), Error> {
        let mut after = self.clone();
        let facts = match &self.kind {
            Kind::Trade(_) => after.move_trade(command)?,
            Kind::Purchase(purchase) => {
                let (state, purchase, saga, facts) = self.move_purchase(purchase, &command)?;
                after.kind = Kind::Purchase(purchase);
                after.note(state, saga, command);
                facts
            }
        };
        after.sequence += 1;
        after.facts += i64::try_from(facts.len()).map_err(Error::internal)?;
        after.update_time = now;
        Ok((after, facts))
    }

    fn move_trade(&mut self, command: Command) -> Result<&'static [Fact], Error> {
        match (self.state, command) {
            (State::Pending, Command::Fulfil { transaction_id }) => {
                (self.state, self.transaction_id) = (State::Fulfilled, Some(transaction_id));
                self.saga = Saga::end(saga::State::Succeeded);
                Ok(&[Fact::TradeExecuted, Fact::Fulfilled])
            }
            (State::Pending, Command::Reject(rejection)) => {
                (self.state, self.rejection) = (State::Rejected, Some(rejection));
                self.saga = Saga::end(saga::State::Compensated);
                Ok(&[Fact::Rejected])
            }
            (_, command) => Err(self.refusal(&command)),
        }
    }

    fn move_purchase(&self, purchase: &Purchase, command: &Command) -> Result<Move, Error> {
        use State::{Cancelled, Cancelling, Completed, Confirmed, Fulfilled, PartiallyFulfilled, Pending, Rejected};
        let same = || purchase.clone();
        let succeeded = || Saga::end(saga::State::Succeeded);
        let compensated = || Saga::end(saga::State::Compensated);
        let undo = |deadline| Saga::begin(saga::State::Compensating, "void", Some(deadline));
        let carried = !self.is_undone();
        Ok(match (self.state, command) {
            (Pending, Command::RequireAction { action_url, deadline }) if carried => {
                let saga = Saga { deadline: Some(*deadline), ..self.saga.clone() };
                (Pending, purchase.with_action(action_url.clone()), saga, &[Fact::Updated])
            }
            (Pending, Command::Confirm { digital: None }) if carried => {
                (Confirmed, purchase.with_action(String::new()), succeeded(), &[Fact::Confirmed])
            }
            (Pending, Command::Confirm { digital: Some((shipment_id, deadline)) })
                if carried && !purchase.left_digital().is_empty() =>
            {
                let (shipped, ..) = purchase.with_action(String::new()).ship(&purchase.left_digital())?;
                (Confirmed, shipped, shipping(shipment_id, *deadline), &[Fact::Confirmed])
            }
            (Pending, Command::GiveUp(_, deadline)) if carried => (Pending, same(), undo(*deadline), &[]),
            (Pending, Command::Undone { .. }) if !carried => {
                (Rejected, purchase.with_action(String::new()), compensated(), &[Fact::Rejected])
            }
            (Pending, Command::Cancel(deadline)) if carried => {
                (Cancelling, purchase.cancel_rest(), undo(*deadline), &[])
            }
            (Confirmed, Command::Cancel(deadline) | Command::MoneyGone(_, deadline)) => {
                self.must_be_idle()?;
                (Cancelling, purchase.cancel_rest(), undo(*deadline), &[])
            }
            (PartiallyFulfilled, Command::Cancel(deadline) | Command::MoneyGone(_, deadline)) => {
                self.must_be_idle()?;
                (PartiallyFulfilled, purchase.cancel_rest(), undo(*deadline), &[Fact::Updated])
            }
            (Cancelling, Command::Undone { .. }) => {
                (Cancelled, purchase.with_action(String::new()), compensated(), &[Fact::Cancelled])
            }
            (PartiallyFulfilled, Command::Undone { .. }) if !carried => {
                (Fulfilled, same(), succeeded(), &[Fact::Fulfilled])
            }
            (Confirmed | PartiallyFulfilled, Command::Ship { shipment_id, lines, deadline }) => {
                self.must_be_idle()?;
                let (shipped, ..) = purchase.ship(lines)?;
                (self.state, shipped, shipping(shipment_id, *deadline), &[])
            }
            (Confirmed | PartiallyFulfilled, Command::Shipped { amount, .. }) if self.is_on("shp_") => {
                let paid = purchase.capture(amount)?;
                match paid.left().is_empty() {
                    true => (Fulfilled, paid, succeeded(), &[Fact::Fulfilled]),
                    false => (PartiallyFulfilled, paid, succeeded(), &[Fact::PartiallyFulfilled]),
                }
            }
            (Confirmed, Command::Unship { lines, deadline, .. }) if self.is_on("shp_") => {
                (Cancelling, purchase.unship(lines).cancel_rest(), undo(*deadline), &[])
            }
            (PartiallyFulfilled, Command::Unship { lines, deadline, .. }) if self.is_on("shp_") => {
                (PartiallyFulfilled, purchase.unship(lines).cancel_rest(), undo(*deadline), &[Fact::Updated])
            }
            (Confirmed | PartiallyFulfilled, Command::CancelShipment { deadline }) if self.is_on("shp_") => {
                let saga = Saga { state: saga::State::Running, attempts: 0, ..self.saga.clone() };
                (self.state, same(), Saga { deadline: Some(*deadline), ..saga }, &[])
            }
            (PartiallyFulfilled | Fulfilled | Completed, Command::Receive { return_id, lines, deadline }) => {
                self.must_be_idle()?;
                let (back, ..) = purchase.take_back(lines)?;
                let saga = Saga::begin(saga::State::Running, "restock", Some(*deadline));
                (self.state, back, Saga { task: Some(return_id.clone()), ..saga }, &[])
            }
            (PartiallyFulfilled | Fulfilled | Completed, Command::Refunded(amount)) if self.is_on("rtn_") => {
                (self.state, purchase.refund(amount)?, succeeded(), &[Fact::Updated])
            }
            // Whatever else is under way: that money is gone from what can be given back.
            (_, Command::RefundedBySupport(amount)) => {
                (self.state, purchase.refund(amount)?, self.saga.clone(), &[Fact::Updated])
            }
            (Fulfilled, Command::Complete) => {
                self.must_be_idle()?;
                (Completed, same(), succeeded(), &[Fact::Completed])
            }
            (_, command) => return Err(self.refusal(command)),
        })
    }

    /// What a move of a purchase changes beside state and goods.
    fn note(&mut self, state: State, saga: Saga, command: Command) {
        match command {
            Command::GiveUp(rejection, _) | Command::MoneyGone(rejection, _) => self.rejection = Some(rejection),
            Command::Unship { why, .. } => self.rejection = why,
            Command::Shipped { close_time, .. } | Command::Undone { close_time } if state == State::Fulfilled => {
                self.close_time = Some(close_time);
            }
            Command::Complete => self.close_time = None,
            _ => {}
        }
        (self.state, self.saga) = (state, saga);
    }

    /// The goods, if it is a purchase.
    pub fn purchase(&self) -> Option<&Purchase> {
        match &self.kind {
            Kind::Purchase(purchase) => Some(purchase),
            Kind::Trade(_) => None,
        }
    }

    /// The entries that carry a trade out.
    pub fn entries(&self) -> Vec<Entry> {
        match &self.kind {
            Kind::Trade(trade) => trade.entries(&self.owner),
            Kind::Purchase(_) => Vec::new(),
        }
    }

    /// Whether the order, or what is left of it, is being undone, even if that is stuck.
    pub fn is_undone(&self) -> bool {
        match self.state {
            State::Pending => self.rejection.is_some(),
            State::Cancelling => true,
            State::PartiallyFulfilled => !self.saga.is_idle() && self.saga.task.is_none(),
            _ => false,
        }
    }

    /// The shipment or return that is under way, by the beginning of its id.
    pub fn is_on(&self, prefix: &str) -> bool {
        self.saga.task.as_deref().is_some_and(|task| task.starts_with(prefix))
    }

    fn must_be_idle(&self) -> Result<(), Error> {
        if self.saga.is_idle() {
            return Ok(());
        }
        if self.saga.state == saga::State::Stuck {
            let message = "This order is stuck: asking again does not help. Support has to take it up.";
            return Err(Error::new(Reason::InvalidStateTransition, message)
                .with("order", &self.id)
                .with("saga", "STUCK"));
        }
        let message = "Something else is under way on this order. Try again in a moment.";
        let task = self.saga.task.as_deref().unwrap_or(&self.saga.step);
        Err(Error::new(Reason::LockConflict, message)
            .with("order", &self.id)
            .with("task", task)
            .retry_after(std::time::Duration::from_millis(500)))
    }

    fn refusal(&self, command: &Command) -> Error {
        let from = self.state.name();
        let to = match command {
            Command::Cancel(_) => {
                let message = match (&self.kind, self.state) {
                    (Kind::Trade(_), _) => {
                        "A trade is carried out at once, or not at all: it cannot be cancelled.".into()
                    }
                    (_, State::Fulfilled | State::Completed) => {
                        format!("The order is {from}, so nothing of it is left to cancel. Return goods instead.")
                    }
                    _ => format!("The order is {from}, so nothing of it is left to cancel."),
                };
                return Error::new(Reason::OrderNotCancellable, message).with("state", from);
            }
            Command::Fulfil { .. } | Command::Ship { .. } | Command::Shipped { .. } => State::Fulfilled,
            Command::Reject(_) | Command::GiveUp(..) => State::Rejected,
            Command::RequireAction { .. } => State::Pending,
            Command::Confirm { .. } => State::Confirmed,
            Command::MoneyGone(..)
            | Command::Undone { .. }
            | Command::Unship { .. }
            | Command::CancelShipment { .. } => State::Cancelled,
            Command::Receive { .. } | Command::Refunded(_) | Command::RefundedBySupport(_) | Command::Complete => {
                State::Completed
            }
        };
        let message = match self.state.is_final() {
            true => format!("The order has ended as {from}."),
            false => format!("The order is {from}, which does not allow this. Look at it again."),
        };
        Error::new(Reason::InvalidStateTransition, message).with("from", from).with("to", to.name())
    }
}

fn shipping(shipment_id: &str, deadline: Timestamp) -> Saga {
    let saga = Saga::begin(saga::State::Running, "commit-stock", Some(deadline));
    Saga { task: Some(shipment_id.to_owned()), ..saga }
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Pending,
        State::Confirmed,
        State::PartiallyFulfilled,
        State::Fulfilled,
        State::Completed,
        State::Cancelling,
        State::Cancelled,
        State::Rejected,
    ];

    /// Whether it is carried out, refused or undone. Only returns and the end of their time come after that.
    pub fn is_final(self) -> bool {
        matches!(self, State::Fulfilled | State::Completed | State::Cancelled | State::Rejected)
    }

    /// The state's name in a row and in an error.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Confirmed => "CONFIRMED",
            State::PartiallyFulfilled => "PARTIALLY_FULFILLED",
            State::Fulfilled => "FULFILLED",
            State::Completed => "COMPLETED",
            State::Cancelling => "CANCELLING",
            State::Cancelled => "CANCELLED",
            State::Rejected => "REJECTED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no order state {name}")))
    }
}
