//! Between the messages of the contract and the types of the catalogue.

use contracts::{
    catalog::v1 as proto,
    r#type::v1::{Amount, Price, Reason, Tax},
};
use kit::{Error, amount};

use crate::{
    assets::{CURRENCY, PRICE_SCALE},
    feed::Tick,
    product::{Category, Form, Kind, ListPrice, Product, State, TaxClass, Unit, UnitKind, Variant},
    purchase::{Line, Offer, Promotion, Purchase},
    quote::{Quote, Side},
    rates::percent,
};

/// A product, as the contract has it. `currency` is the platform's, in which list prices are shown.
pub fn product(product: &Product, currency: &Unit) -> proto::Product {
    let (unit, scale) = match &product.form {
        Form::Asset(unit) => (unit.code.clone(), unit.scale),
        Form::Good(_) => (String::new(), 0),
    };
    let tax_class = match &product.form {
        Form::Asset(_) => proto::product::TaxClass::Unspecified,
        Form::Good(good) => match good.tax_class {
            TaxClass::Standard => proto::product::TaxClass::Standard,
            TaxClass::Reduced => proto::product::TaxClass::Reduced,
            TaxClass::Exempt => proto::product::TaxClass::Exempt,
        },
    };
    proto::Product {
        id: product.id.clone(),
        kind: kind(product.kind()).into(),
        unit,
        name: product.name.clone(),
        description: product.description.clone(),
        category: product.category.clone(),
        scale: scale.into(),
        create_time: Some(product.create_time.to_proto()),
        variants: product.variants().iter().map(|one| variant(one, currency)).collect(),
        state: state(product.state).into(),
        tax_class: tax_class.into(),
        etag: product.etag(),
        update_time: Some(product.update_time.to_proto()),
    }
}

fn variant(variant: &Variant, currency: &Unit) -> proto::Variant {
    proto::Variant {
        id: variant.id.clone(),
        sku: variant.sku.clone(),
        title: variant.title.clone(),
        list_price: variant.list_price.map(|atoms| amount(atoms, currency)),
        state: state(variant.state).into(),
    }
}

fn state(state: State) -> proto::product::State {
    match state {
        State::Active => proto::product::State::Active,
        State::Archived => proto::product::State::Archived,
    }
}

fn kind(kind: Kind) -> proto::product::Kind {
    match kind {
        Kind::Asset => proto::product::Kind::Asset,
        Kind::PhysicalGood => proto::product::Kind::PhysicalGood,
        Kind::DigitalGood => proto::product::Kind::DigitalGood,
    }
}

/// The kind that a request names; none if it names none.
///
/// # Errors
/// `INVALID_FIELD` if nobody knows it.
pub fn kind_of(number: i32) -> Result<Option<Kind>, Error> {
    match proto::product::Kind::try_from(number) {
        Ok(proto::product::Kind::Unspecified) => Ok(None),
        Ok(proto::product::Kind::Asset) => Ok(Some(Kind::Asset)),
        Ok(proto::product::Kind::PhysicalGood) => Ok(Some(Kind::PhysicalGood)),
        Ok(proto::product::Kind::DigitalGood) => Ok(Some(Kind::DigitalGood)),
        Err(_) => Err(invalid("kind", "must be a kind of product")),
    }
}

/// The tax class that a request names.
///
/// # Errors
/// `INVALID_FIELD` if it names none.
pub fn tax_class(field: &str, number: i32) -> Result<TaxClass, Error> {
    match proto::product::TaxClass::try_from(number) {
        Ok(proto::product::TaxClass::Standard) => Ok(TaxClass::Standard),
        Ok(proto::product::TaxClass::Reduced) => Ok(TaxClass::Reduced),
        Ok(proto::product::TaxClass::Exempt) => Ok(TaxClass::Exempt),
        Ok(proto::product::TaxClass::Unspecified) | Err(_) => {
            Err(invalid(field, "must be TAX_CLASS_STANDARD, TAX_CLASS_REDUCED or TAX_CLASS_EXEMPT"))
        }
    }
}

/// A list price, as the contract has it.
pub fn list_price(price: &ListPrice) -> proto::ListPrice {
    proto::ListPrice {
        variant_id: price.variant_id.clone(),
        amount: Some(amount(price.atoms, &price.currency)),
        start_time: Some(price.start_time.to_proto()),
    }
}

/// A promotion, as the contract has it.
pub fn promotion(promotion: &Promotion) -> proto::Promotion {
    proto::Promotion {
        id: promotion.id.clone(),
        title: promotion.title.clone(),
        discount_bps: bps(promotion.discount_bps),
        category: promotion.category.clone().unwrap_or_default(),
        code: promotion.code.clone().unwrap_or_default(),
        start_time: Some(promotion.start_time.to_proto()),
        end_time: promotion.end_time.map(|time| time.to_proto()),
        create_time: Some(promotion.create_time.to_proto()),
    }
}

/// The quote of a purchase and its token, as the contract has them.
///
/// # Errors
/// `AMOUNT_OUT_OF_RANGE` if a sum does not fit, which [`Purchase::new`] rules out.
pub fn purchase(purchase: &Purchase, token: String) -> Result<proto::PurchaseQuote, Error> {
    let money = |atoms| Some(amount(atoms, &purchase.currency));
    let sums = purchase.sums()?;
    let tax = |(rate, base, atoms): &(i64, i64, i64)| Tax {
        title: format!("{} {}", purchase.tax_name, percent(*rate)),
        rate_bps: bps(*rate),
        base: money(*base),
        amount: money(*atoms),
    };
    let line = |line: &Line| {
        let Offer { variant_id, product_id, sku, title, physical, .. } = &*line.offer;
        Ok(proto::QuoteLine {
            variant_id: variant_id.clone(),
            product_id: product_id.clone(),
            sku: sku.clone(),
            title: title.clone(),
            kind: kind(if *physical { Kind::PhysicalGood } else { Kind::DigitalGood }).into(),
            quantity: line.quantity,
            unit_price: money(line.unit_price),
            discount: money(line.discount),
            tax: money(line.tax),
            total: money(i64::try_from(line.total()).map_err(Error::internal)?),
            tax_bps: bps(line.tax_bps),
        })
    };
    Ok(proto::PurchaseQuote {
        token,
        lines: purchase.lines.iter().map(line).collect::<Result<_, Error>>()?,
        subtotal: money(sums.subtotal),
        discount: money(sums.discount),
        shipping: money(purchase.shipping),
        tax: money(sums.tax),
        total: money(sums.total),
        taxes: sums.taxes.iter().map(tax).collect(),
        country_code: purchase.country.clone(),
        expire_time: Some(purchase.expire_time.to_proto()),
    })
}

/// Basis points are at most 10,000.
fn bps(bps: i64) -> i32 {
    i32::try_from(bps).unwrap_or(i32::MAX)
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

/// The limit of a trade at the price of the moment, in atoms. A refusal names the field of the order: only order asks.
///
/// # Errors
/// `UNIT_MISMATCH` if it is not in the currency of the market; what [`amount::parse`] says of it.
pub fn limit(price: &Price) -> Result<i64, Error> {
    if price.currency != CURRENCY {
        let message = format!("Prices here are in {CURRENCY}. Name the limit in it.");
        let refusal = Error::new(Reason::UnitMismatch, message).with("unit", CURRENCY);
        return Err(refusal.at("market_trade.limit_price.currency"));
    }
    amount::parse(&price.value, PRICE_SCALE).map_err(|refusal| refusal.at("market_trade.limit_price.value"))
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
