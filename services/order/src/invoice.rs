//! What an invoice of a shipment says. No await, no clock, no I/O.
//!
//! A line is shared among its pieces by counting, as the purchase does: the first `k` of `n` pieces have
//! `floor(amount * k / n)` of its total and of its tax. So the invoices of an order sum to what was ordered, line by line,
//! and each sums to what was charged for its shipment.

use std::collections::BTreeMap;

use contracts::{
    order::v1::{Invoice, InvoiceLine, LineQuantity, OrderLine, Purchase, Shipment, shipment::State},
    r#type::v1::{Amount, Tax},
};
use kit::{Error, Timestamp};

/// What an invoice is written from.
pub struct Subject<'a> {
    /// The order's goods, at the prices of the order.
    pub purchase: &'a Purchase,
    /// What left, and what was charged for it.
    pub shipment: &'a Shipment,
    /// How many pieces of each variant had left before, with other shipments.
    pub before: &'a BTreeMap<String, i64>,
}

/// What the pieces of the shipments that came before `shipment` add up to. `shipments` are all of its order, the oldest
/// first.
pub fn shipped_before(shipments: &[Shipment], shipment: &Shipment) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::<String, i64>::new();
    let earlier = shipments.iter().take_while(|other| other.id != shipment.id);
    let earlier = earlier.filter(|other| other.state() != State::Cancelled);
    for LineQuantity { variant_id, quantity } in earlier.flat_map(|shipment| &shipment.lines) {
        let sum = sums.entry(variant_id.clone()).or_default();
        *sum = sum.saturating_add(*quantity);
    }
    sums
}

/// The number of an invoice: `2026-000042`.
pub fn number(year: i64, count: i64) -> String {
    format!("{year}-{count:06}")
}

/// Writes an invoice.
///
/// # Errors
/// `INTERNAL` if the shipment is not one of the purchase.
pub fn write(subject: &Subject<'_>, id: String, number: String, now: Timestamp) -> Result<Invoice, Error> {
    let Subject { purchase, shipment, .. } = subject;
    let money = Money::of(purchase)?;
    let total = money.atoms(shipment.amount.as_ref())?;
    let mut lines = Vec::with_capacity(shipment.lines.len() + 1);
    for pieces in &shipment.lines {
        lines.push(goods(subject, &money, pieces)?);
    }
    lines.extend(shipping(purchase, &money, total - sum(&lines, Line::gross))?);
    let net = sum(&lines, |line| line.net);
    let taxes = taxes(purchase, &money, &lines);
    Ok(Invoice {
        id,
        number,
        order_id: shipment.order_id.clone(),
        shipment_id: shipment.id.clone(),
        owner_id: shipment.owner_id.clone(),
        lines: lines.into_iter().map(|line| line.message(&money)).collect(),
        net: money.amount(net),
        taxes,
        total: money.amount(total),
        address: purchase.shipping_address.clone(),
        issue_time: Some(now.to_proto()),
    })
}

/// A line in atoms.
struct Line {
    title: String,
    sku: String,
    quantity: i64,
    unit_price: i64,
    discount: i64,
    net: i64,
    tax_bps: i32,
    tax: i64,
}

impl Line {
    fn gross(&self) -> i64 {
        self.net + self.tax
    }

    fn message(self, money: &Money) -> InvoiceLine {
        let Line { title, sku, quantity, unit_price, discount, net, tax_bps, tax } = self;
        let [unit_price, discount, net, tax] = [unit_price, discount, net, tax].map(|atoms| money.amount(atoms));
        InvoiceLine { title, sku, quantity, unit_price, discount, net, tax_bps, tax }
    }
}

fn sum(lines: &[Line], part: impl Fn(&Line) -> i64) -> i64 {
    lines.iter().map(part).sum()
}

/// The part of an ordered line that left with a shipment.
fn goods(subject: &Subject<'_>, money: &Money, pieces: &LineQuantity) -> Result<Line, Error> {
    let Subject { purchase, shipment, before } = subject;
    let of_variant = |line: &&OrderLine| line.variant_id == pieces.variant_id;
    let foreign = || Error::internal(format!("{} has {}, which was not ordered", shipment.id, pieces.variant_id));
    let ordered = purchase.lines.iter().find(of_variant).ok_or_else(foreign)?;
    let first = before.get(&pieces.variant_id).copied().unwrap_or_default();
    let last = first + pieces.quantity;
    if pieces.quantity < 1 || last > ordered.quantity {
        return Err(foreign());
    }
    let part = |amount: Option<&Amount>| {
        let whole = money.atoms(amount)?;
        Ok::<_, Error>(share(whole, ordered.quantity, last) - share(whole, ordered.quantity, first))
    };
    let (gross, mut tax) = (part(ordered.total.as_ref())?, part(ordered.tax.as_ref())?);
    let unit_price = money.atoms(ordered.unit_price.as_ref())?;
    let listed = unit_price.checked_mul(pieces.quantity).ok_or_else(foreign)?;
    // What rounding leaves goes to the discount; where there is hardly one, to the tax.
    let discount = (listed - (gross - tax)).max(0);
    let net = listed - discount;
    tax = gross - net;
    Ok(Line {
        title: ordered.title.clone(),
        sku: ordered.sku.clone(),
        quantity: pieces.quantity,
        unit_price,
        discount,
        net,
        tax_bps: ordered.tax_bps,
        tax,
    })
}

/// The line of what was charged beyond the goods: shipping, which goes with the first parcel.
fn shipping(purchase: &Purchase, money: &Money, charged: i64) -> Result<Option<Line>, Error> {
    if charged == 0 {
        return Ok(None);
    }
    // Its tax is the rest; whatever was charged, the lines sum to it.
    let net = money.atoms(purchase.shipping.as_ref())?.min(charged);
    let (tax, unit_price) = (charged - net, net);
    let tax_bps = if tax == 0 { 0 } else { shipping_rate(purchase, money, net)? };
    let title = "Shipping".to_owned();
    Ok(Some(Line { title, sku: String::new(), quantity: 1, unit_price, discount: 0, net, tax_bps, tax }))
}

/// The rate at which shipping is taxed: the one whose base has more than the goods of that rate, by just what shipping
/// costs.
fn shipping_rate(purchase: &Purchase, money: &Money, shipping: i64) -> Result<i32, Error> {
    for tax in &purchase.taxes {
        let mut base = money.atoms(tax.base.as_ref())?;
        for line in purchase.lines.iter().filter(|line| line.tax_bps == tax.rate_bps) {
            base -= money.atoms(line.total.as_ref())? - money.atoms(line.tax.as_ref())?;
        }
        if base == shipping {
            return Ok(tax.rate_bps);
        }
    }
    Ok(purchase.taxes.iter().map(|tax| tax.rate_bps).max().unwrap_or_default())
}

/// The taxes by rate, the highest first, by the names that the order has for them.
fn taxes(purchase: &Purchase, money: &Money, lines: &[Line]) -> Vec<Tax> {
    let mut rates = BTreeMap::<i32, (i64, i64)>::new();
    for line in lines {
        let (base, tax) = rates.entry(line.tax_bps).or_default();
        (*base, *tax) = (*base + line.net, *tax + line.tax);
    }
    let charged = rates.into_iter().rev().filter(|(rate_bps, (_, tax))| *rate_bps != 0 || *tax != 0);
    let tax = |(rate_bps, (base, tax)): (i32, (i64, i64))| {
        let known = purchase.taxes.iter().find(|tax| tax.rate_bps == rate_bps);
        let title = known.map_or_else(|| format!("Tax {}", percent(rate_bps)), |tax| tax.title.clone());
        Tax { title, rate_bps, base: money.amount(base), amount: money.amount(tax) }
    };
    charged.map(tax).collect()
}

/// A rate as people write it: `7.5 %`.
pub fn percent(rate_bps: i32) -> String {
    let (whole, rest) = (rate_bps / 100, rate_bps % 100);
    match format!("{rest:02}").trim_end_matches('0') {
        "" => format!("{whole} %"),
        decimals => format!("{whole}.{decimals} %"),
    }
}

/// What the first pieces of a line have of an amount.
fn share(whole: i64, quantity: i64, pieces: i64) -> i64 {
    let part = i128::from(whole) * i128::from(pieces) / i128::from(quantity.max(1));
    // No larger than the whole, since there are no more pieces than the quantity.
    i64::try_from(part).unwrap_or(whole)
}

/// How the amounts of a purchase are counted.
struct Money {
    currency: String,
    scale: u8,
}

impl Money {
    /// In the smallest part of the currency that any amount names.
    fn of(purchase: &Purchase) -> Result<Self, Error> {
        let total = purchase.total.as_ref().ok_or_else(|| Error::internal("a purchase has no total"))?;
        let of_line = |line: &'_ OrderLine| [line.total.clone(), line.unit_price.clone()];
        let amounts = purchase.lines.iter().flat_map(of_line).flatten().chain([total.clone()]);
        let decimals = |amount: Amount| amount.value.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let most = amounts.map(decimals).max().unwrap_or(0);
        let scale = u8::try_from(most).unwrap_or(kit::amount::SCALE_MAX).min(kit::amount::SCALE_MAX);
        Ok(Self { currency: total.unit.clone(), scale })
    }

    fn atoms(&self, amount: Option<&Amount>) -> Result<i64, Error> {
        let Some(amount) = amount else { return Ok(0) };
        kit::amount::parse(&amount.value, self.scale).map_err(Error::internal)
    }

    fn amount(&self, atoms: i64) -> Option<Amount> {
        Some(Amount { value: kit::amount::format(atoms, self.scale), unit: self.currency.clone() })
    }
}
