//! An order for a trade: what it is, and every move it can make. No await, no clock, no I/O.

use contracts::{
    catalog::v1::{self as catalog, Quote},
    ledger::v1::Entry,
    r#type::v1::{Amount, Price, Reason},
};
use kit::{Error, Timestamp};

/// The account that gives and takes assets and money for the house.
const HOUSE_TRADING: &str = "house/trading";
/// The account that gets the fees.
const HOUSE_FEES: &str = "house/fees";

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is noted, and being carried out.
    Pending,
    /// It is carried out.
    Fulfilled,
    /// It was refused, and nothing of it happened.
    Rejected,
}

/// Whether an asset is bought or sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Money for an asset.
    Buy,
    /// An asset for money.
    Sell,
}

/// An asset for money, as it was quoted.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade {
    /// Whether the asset is bought or sold.
    pub side: Side,
    /// How much of the asset.
    pub quantity: Amount,
    /// What one whole unit costs.
    pub price: Price,
    /// Quantity times price, before the fee.
    pub notional: Amount,
    /// What the house takes.
    pub fee: Amount,
    /// What the owner pays, or gets.
    pub total: Amount,
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
    /// What is traded.
    pub trade: Trade,
    /// The quote that it used up, `quo_…`.
    pub quote_id: Option<String>,
    /// The transaction that moved money and asset, `txn_…`.
    pub transaction_id: Option<String>,
    /// Why it was refused.
    pub rejection: Option<Rejection>,
    /// The number of its last change, from 1.
    pub sequence: i64,
    /// How many facts were told about it.
    pub facts: i64,
    /// When it was placed.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What the ledger answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The transaction was posted.
    Fulfil {
        /// `txn_…`.
        transaction_id: String,
    },
    /// The transaction was refused, for good.
    Reject(Rejection),
}

/// What became true with a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An order was placed.
    Created,
    /// A trade moved money and an asset.
    TradeExecuted,
    /// An order is carried out.
    Fulfilled,
    /// An order was refused.
    Rejected,
}

impl Order {
    /// A new order, and the fact of it.
    pub fn place(
        id: String,
        owner: String,
        trade: Trade,
        quote_id: Option<String>,
        now: Timestamp,
    ) -> (Self, &'static [Fact]) {
        let order = Self {
            id,
            owner,
            state: State::Pending,
            trade,
            quote_id,
            transaction_id: None,
            rejection: None,
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
    /// `INVALID_STATE_TRANSITION`: an order ends once.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<(Self, &'static [Fact]), Error> {
        let (state, transaction_id, rejection, facts): (_, _, _, &[Fact]) = match (self.state, command) {
            (State::Pending, Command::Fulfil { transaction_id }) => {
                (State::Fulfilled, Some(transaction_id), None, &[Fact::TradeExecuted, Fact::Fulfilled])
            }
            (State::Pending, Command::Reject(rejection)) => (State::Rejected, None, Some(rejection), &[Fact::Rejected]),
            (State::Fulfilled | State::Rejected, command) => return Err(self.ended(&command)),
        };
        let told = i64::try_from(facts.len()).map_err(Error::internal)?;
        let (sequence, facts_told) = (self.sequence + 1, self.facts + told);
        let order =
            Self { state, transaction_id, rejection, sequence, facts: facts_told, update_time: now, ..self.clone() };
        Ok((order, facts))
    }

    /// The entries that carry the trade out: money one way and the asset the other, the fee to the house.
    pub fn entries(&self) -> Vec<Entry> {
        let Trade { side, quantity, notional, fee, total, .. } = &self.trade;
        let owner = self.owner.as_str();
        let moves = match side {
            Side::Buy => [
                (owner, negated(total)),
                (HOUSE_TRADING, notional.clone()),
                (HOUSE_FEES, fee.clone()),
                (HOUSE_TRADING, negated(quantity)),
                (owner, quantity.clone()),
            ],
            Side::Sell => [
                (owner, negated(quantity)),
                (HOUSE_TRADING, quantity.clone()),
                (HOUSE_TRADING, negated(notional)),
                (HOUSE_FEES, fee.clone()),
                (owner, total.clone()),
            ],
        };
        let entry = |(owner, amount): (&str, Amount)| Entry { owner: owner.to_owned(), amount: Some(amount) };
        moves.into_iter().filter(|(_, amount)| !is_zero(amount)).map(entry).collect()
    }

    fn ended(&self, command: &Command) -> Error {
        let to = match command {
            Command::Fulfil { .. } => State::Fulfilled,
            Command::Reject(_) => State::Rejected,
        };
        Error::new(Reason::InvalidStateTransition, format!("The order has ended as {}.", self.state.name()))
            .with("from", self.state.name())
            .with("to", to.name())
    }
}

impl Trade {
    /// The trade that a quote is for.
    ///
    /// # Errors
    /// `INTERNAL` if the quote lacks something.
    pub fn of(quote: Quote) -> Result<Self, Error> {
        let side = match quote.side() {
            catalog::Side::Buy => Some(Side::Buy),
            catalog::Side::Sell => Some(Side::Sell),
            catalog::Side::Unspecified => None,
        };
        let Quote { quantity, price, notional, fee, total, .. } = quote;
        match (side, quantity, price, notional, fee, total) {
            (Some(side), Some(quantity), Some(price), Some(notional), Some(fee), Some(total)) => {
                Ok(Self { side, quantity, price, notional, fee, total })
            }
            _ => Err(Error::internal("a quote lacks something")),
        }
    }
}

impl State {
    /// Whether nothing can change any more.
    pub fn is_final(self) -> bool {
        self != State::Pending
    }

    /// The state's name in a row and in an error.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Fulfilled => "FULFILLED",
            State::Rejected => "REJECTED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        [State::Pending, State::Fulfilled, State::Rejected]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("there is no order state {name}")))
    }
}

impl Side {
    /// The side's name in a row.
    pub fn name(self) -> &'static str {
        match self {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
        }
    }

    /// The side with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        [Side::Buy, Side::Sell]
            .into_iter()
            .find(|side| side.name() == name)
            .ok_or_else(|| Error::internal(format!("there is no side {name}")))
    }
}

fn is_zero(amount: &Amount) -> bool {
    amount.value.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'))
}

/// The same amount the other way.
fn negated(amount: &Amount) -> Amount {
    let value = match amount.value.strip_prefix('-') {
        Some(value) => value.to_owned(),
        None => format!("-{}", amount.value),
    };
    Amount { value, unit: amount.unit.clone() }
}
