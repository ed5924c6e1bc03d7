//! A trade: an asset for money, as it was quoted. No await, no clock, no I/O.

use contracts::{
    catalog::v1::{self as catalog, Quote},
    ledger::v1::Entry,
    r#type::v1::{Amount, Price},
};
use kit::Error;

/// The account that gives and takes assets and money for the house.
const HOUSE_TRADING: &str = "house/trading";
/// The account that gets the fees.
const HOUSE_FEES: &str = "house/fees";

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

    /// The entries that carry the trade out for its owner: money one way and the asset the other, the fee to the house.
    pub fn entries(&self, owner: &str) -> Vec<Entry> {
        let Trade { side, quantity, notional, fee, total, .. } = self;
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
