//! Between the messages of the contract and the types of the catalogue.

use contracts::{
    catalog::v1 as proto,
    r#type::v1::{Amount, Price, Reason},
};
use kit::{Error, amount};

use crate::{
    assets::{CURRENCY, PRICE_SCALE},
    feed::Tick,
    product::{Category, Product, Unit, UnitKind},
    quote::{Quote, Side},
};

/// A product, as the contract has it.
pub fn product(product: Product) -> proto::Product {
    proto::Product {
        id: product.id,
        kind: proto::product::Kind::Asset.into(),
        scale: product.unit.scale.into(),
        unit: product.unit.code,
        name: product.name,
        description: product.description,
        category: product.category,
        create_time: Some(product.create_time.to_proto()),
    }
}

/// A category, as the contract has it.
pub fn category(category: Category) -> proto::Category {
    let product_count = i32::try_from(category.product_count).unwrap_or(i32::MAX);
    proto::Category { name: category.name, title: category.title, product_count }
}

/// A unit, as the contract has it.
pub fn unit(unit: Unit) -> proto::Unit {
    let kind = match unit.kind {
        UnitKind::Fiat => proto::unit::Kind::Fiat,
        UnitKind::Asset => proto::unit::Kind::Asset,
    };
    proto::Unit { code: unit.code, kind: kind.into(), scale: unit.scale.into() }
}

/// A tick, as the contract has it.
pub fn ticker(tick: &Tick) -> proto::Ticker {
    proto::Ticker {
        unit: tick.unit.to_string(),
        bid: Some(price(tick.bid)),
        ask: Some(price(tick.ask)),
        last: Some(price(tick.last)),
        change_day_bps: tick.change_day_bps(),
        observe_time: Some(tick.observe_time.to_proto()),
    }
}

/// A quote and its token, as the contract has them.
pub fn quote(quote: &Quote, token: String) -> proto::Quote {
    let money = |atoms| Some(amount(atoms, &quote.currency));
    let side = match quote.side {
        Side::Buy => proto::Side::Buy,
        Side::Sell => proto::Side::Sell,
    };
    proto::Quote {
        token,
        side: side.into(),
        quantity: Some(amount(quote.quantity, &quote.unit)),
        price: Some(price(quote.price)),
        notional: money(quote.notional),
        fee: money(quote.fee),
        total: money(quote.total),
        expire_time: Some(quote.expire_time.to_proto()),
    }
}

/// The side that a request names.
///
/// # Errors
/// `INVALID_FIELD` if it names none.
pub fn side(number: i32) -> Result<Side, Error> {
    match proto::Side::try_from(number) {
        Ok(proto::Side::Buy) => Ok(Side::Buy),
        Ok(proto::Side::Sell) => Ok(Side::Sell),
        Ok(proto::Side::Unspecified) | Err(_) => Err(invalid("side", "must be SIDE_BUY or SIDE_SELL")),
    }
}

/// The price that a request names, in atoms.
///
/// # Errors
/// `UNIT_MISMATCH` if it is not in the currency of the market.
pub fn limit(price: &Price) -> Result<i64, Error> {
    if price.currency != CURRENCY {
        let message = format!("Prices here are in {CURRENCY}.");
        return Err(Error::new(Reason::UnitMismatch, message).with("unit", CURRENCY));
    }
    amount::parse(&price.value, PRICE_SCALE)
}

/// A refusal of one field.
pub fn invalid(field: &str, what: &str) -> Error {
    Error::new(Reason::InvalidField, format!("`{field}` {what}.")).with("field", field).violation(field, what)
}

fn amount(atoms: i64, unit: &Unit) -> Amount {
    Amount { value: amount::format(atoms, unit.scale), unit: unit.code.clone() }
}

fn price(atoms: i64) -> Price {
    Price { value: amount::format(atoms, PRICE_SCALE), currency: CURRENCY.to_owned() }
}
