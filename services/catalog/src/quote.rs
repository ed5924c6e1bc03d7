//! What a trade costs, and whether a frozen price still holds. Pure: the price of the market and the time are handed in.
//! Every rounding favours the house: a buyer pays the next smallest part up, a seller gets the next one down.

use std::time::Duration;

use contracts::r#type::v1::Reason;
use kit::{
    Error, Timestamp,
    amount::{self, Rounding, divide},
};

use crate::{
    assets::PRICE_SCALE,
    feed::Tick,
    product::{Unit, UnitKind},
};

const PER_BPS: i128 = 10_000;

/// Whether an asset is bought or sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Money for an asset.
    Buy,
    /// An asset for money.
    Sell,
}

/// The rules of the house.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What the house takes of the notional, in basis points.
    pub fee_bps: u32,
    /// For how long a quote holds.
    pub lifetime: Duration,
    /// How old a price of the market may be to trade on.
    pub price_age_max: Duration,
    /// How far the market may move against a caller before a quote is void, in basis points.
    pub slippage_max_bps: u32,
}

/// What a trade costs. Amounts are in atoms of their units, the price in atoms of a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Bought or sold.
    pub side: Side,
    /// The asset.
    pub unit: Unit,
    /// How much of it.
    pub quantity: i64,
    /// The currency.
    pub currency: Unit,
    /// What one whole unit of the asset costs.
    pub price: i64,
    /// Quantity times price.
    pub notional: i64,
    /// What the house takes.
    pub fee: i64,
    /// What the caller pays, or gets.
    pub total: i64,
    /// Until when the price holds.
    pub expire_time: Timestamp,
}

impl Quote {
    /// Prices a trade by the market of this moment.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if the unit is not an asset, `PRICE_STALE` if the market's price is missing or old,
    /// `AMOUNT_OUT_OF_RANGE` if the quantity is not positive, or so small that nothing is left of it, or too large.
    pub fn new(
        side: Side,
        (quantity, unit): (i64, &Unit),
        currency: &Unit,
        market: Option<&Tick>,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Self, Error> {
        if unit.kind != UnitKind::Asset {
            let message = format!("`{}` is a currency. Name an asset, such as `BTC`.", unit.code);
            return Err(Error::new(Reason::UnitMismatch, message).with("unit", &unit.code));
        }
        if quantity <= 0 {
            return Err(out_of_range("The quantity must be more than zero.", unit));
        }
        let price = fresh(market, unit, terms, now)?.price(side);
        let rounding = match side {
            Side::Buy => Rounding::Up,
            Side::Sell => Rounding::Down,
        };
        let too_large = || out_of_range("The quantity is too large to be priced.", unit);
        let notional = amount::multiply((quantity, unit.scale), (price, PRICE_SCALE), currency.scale, rounding)
            .map_err(|_| too_large())?;
        let fee = divide(i128::from(notional) * i128::from(terms.fee_bps), PER_BPS, Rounding::Up);
        let total = match side {
            Side::Buy => i128::from(notional) + fee,
            Side::Sell => i128::from(notional) - fee,
        };
        if total <= 0 {
            let message = format!("So little is worth less than the smallest part of a {}.", currency.code);
            return Err(out_of_range(&message, unit));
        }
        Ok(Self {
            side,
            unit: unit.clone(),
            quantity,
            currency: currency.clone(),
            price,
            notional,
            fee: i64::try_from(fee).map_err(|_| too_large())?,
            total: i64::try_from(total).map_err(|_| too_large())?,
            expire_time: now + terms.lifetime,
        })
    }

    /// Refuses a price that is worse than `limit`, in atoms of a price.
    ///
    /// # Errors
    /// `SLIPPAGE_EXCEEDED`.
    pub fn within(self, limit: i64) -> Result<Self, Error> {
        let worse = match self.side {
            Side::Buy => self.price > limit,
            Side::Sell => self.price < limit,
        };
        if worse { Err(slipped(&self, self.price, "is past the limit: take a worse price, or wait")) } else { Ok(self) }
    }

    /// Whether the quote still holds: it has not expired, and the market has not moved against the caller by more than
    /// `slippage_bps`, nor by more than the house allows. 0 stands for what the house allows.
    ///
    /// # Errors
    /// `QUOTE_EXPIRED`, `PRICE_STALE`, `SLIPPAGE_EXCEEDED`.
    pub fn holds(&self, market: Option<&Tick>, slippage_bps: u32, terms: &Terms, now: Timestamp) -> Result<(), Error> {
        if now >= self.expire_time {
            let message = format!("The quote expired at {}. Ask for a new one.", self.expire_time);
            return Err(Error::new(Reason::QuoteExpired, message).with("expire_time", self.expire_time.to_string()));
        }
        let live = fresh(market, &self.unit, terms, now)?.price(self.side);
        let allowed = match slippage_bps {
            0 => terms.slippage_max_bps,
            asked => asked.min(terms.slippage_max_bps),
        };
        let (quoted, moved) = (i128::from(self.price), i128::from(live) * PER_BPS);
        let past = match self.side {
            Side::Buy => moved > quoted * (PER_BPS + i128::from(allowed)),
            Side::Sell => moved < quoted * (PER_BPS - i128::from(allowed)),
        };
        if past { Err(slipped(self, live, "has moved past what was quoted. Ask for a new quote")) } else { Ok(()) }
    }
}

/// The market's price, if it is young enough to trade on.
fn fresh<'a>(market: Option<&'a Tick>, unit: &Unit, terms: &Terms, now: Timestamp) -> Result<&'a Tick, Error> {
    market.filter(|tick| now.since(tick.observe_time) <= terms.price_age_max).ok_or_else(|| {
        let message = format!("The last price of `{}` is too old to trade on. Try again shortly.", unit.code);
        let error = Error::new(Reason::PriceStale, message).with("unit", &unit.code);
        error.retry_after(Duration::from_secs(1))
    })
}

fn slipped(quote: &Quote, live: i64, how: &str) -> Error {
    let message = format!("The market of `{}` {how}.", quote.unit.code);
    Error::new(Reason::SlippageExceeded, message)
        .with("unit", &quote.unit.code)
        .with("price", amount::format(live, PRICE_SCALE))
}

fn out_of_range(message: &str, unit: &Unit) -> Error {
    Error::new(Reason::AmountOutOfRange, message).with("unit", &unit.code)
}

#[cfg(test)]
#[path = "quote_tests.rs"]
mod tests;
