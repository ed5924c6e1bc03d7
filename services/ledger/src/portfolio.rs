//! What someone has, at the prices of the moment. Pure.

use std::{cmp::Reverse, collections::HashMap};

use contracts::{
    ledger::v1 as api,
    r#type::v1::{Amount, Price},
};
use kit::{
    Error,
    amount::{self, Rounding, SCALE_MAX},
    units::Unit,
};

use crate::book::Account;

/// Something that someone has.
pub struct Holding {
    /// What there is of it.
    pub account: Account,
    /// Its unit.
    pub unit: Unit,
}

/// Values holdings at `prices`, which are by unit and in `currency`, a unit with `scale` decimals.
///
/// # Errors
/// `AMOUNT_OUT_OF_RANGE` if a value cannot be written down; what [`amount::parse`] says of a price.
pub fn value(
    holdings: Vec<Holding>,
    prices: &HashMap<String, Price>,
    currency: &str,
    scale: u8,
) -> Result<api::Portfolio, Error> {
    let money = |atoms: i64| Some(Amount { value: amount::format(atoms, scale), unit: currency.to_owned() });
    let (mut cash, mut total, mut valued, mut unpriced_units) = (0, 0_i128, Vec::new(), Vec::new());
    for Holding { account, unit } in holdings {
        if account.code == currency {
            cash = account.posted;
            continue;
        }
        if account.posted == 0 {
            continue;
        }
        // Another currency has no price here: it is named, so that nobody takes the total for all there is.
        if unit.fiat {
            unpriced_units.push(account.code);
            continue;
        }
        let quantity = Some(Amount { value: amount::format(account.posted, unit.scale), unit: account.code.clone() });
        let mut position = api::Position {
            quantity,
            cost: money(account.cost),
            realized_profit: money(account.realized),
            ..Default::default()
        };
        let price = prices.get(&account.code).filter(|price| price.currency == currency);
        let worth = match price {
            Some(price) => {
                let worth = worth(account.posted, unit.scale, price, scale)?;
                total += i128::from(worth);
                position.market_price = Some(price.clone());
                position.market_value = money(worth);
                position.unrealized_profit = money(worth.saturating_sub(account.cost));
                worth
            }
            None => {
                unpriced_units.push(account.code);
                0
            }
        };
        valued.push((worth, position));
    }
    valued.sort_by_key(|(worth, _)| Reverse(*worth));
    let total = i64::try_from(total + i128::from(cash)).map_err(|_| too_large())?;
    Ok(api::Portfolio {
        cash: money(cash),
        positions: valued.into_iter().map(|(_, position)| position).collect(),
        total_value: money(total),
        unpriced_units,
    })
}

fn worth(quantity: i64, quantity_scale: u8, price: &Price, scale: u8) -> Result<i64, Error> {
    let price = amount::parse(&price.value, SCALE_MAX)?;
    amount::multiply((quantity, quantity_scale), (price, SCALE_MAX), scale, Rounding::Down)
}

fn too_large() -> Error {
    Error::named("AMOUNT_OUT_OF_RANGE", "The value of the portfolio is too large to be written down.")
}
