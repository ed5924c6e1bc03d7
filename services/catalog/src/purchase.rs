//! What a basket of goods costs. Pure: prices, promotions, rates and the time are handed in. Every line is rounded by
//! itself, and every sum is one of rounded lines. A discount is rounded in favour of the house, a tax to the nearest
//! part with ties to even, which favours nobody.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use contracts::r#type::v1::Reason;
use kit::{
    Error, Timestamp,
    amount::{Rounding, divide},
};

use crate::{
    message::invalid,
    product::{TaxClass, Unit},
    rates::Country,
};

const PER_BPS: i128 = 10_000;
/// More pieces of one variant are not sold at once.
const QUANTITY_MAX: i64 = 10_000;
/// More variants are not sold at once.
const LINES_MAX: usize = 100;

/// What is bought, and what it is paid in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basket {
    /// Variants and how many pieces of each, every variant once.
    pub items: Vec<(String, i64)>,
    /// What is paid in.
    pub currency: Unit,
    /// The code of a promotion, or nothing.
    pub code: String,
}

/// A variant with everything that its price depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The variant.
    pub variant_id: String,
    /// The product that it is a form of.
    pub product_id: String,
    /// The code under which the merchant knows it.
    pub sku: String,
    /// Product and variant by name.
    pub title: String,
    /// The category of the product.
    pub category: String,
    /// Whether it is shipped.
    pub physical: bool,
    /// How it is taxed.
    pub tax_class: TaxClass,
    /// Whether it can be bought.
    pub on_sale: bool,
    /// Its prices of now and later: currency, from when, and how much in atoms.
    pub prices: Vec<(String, Timestamp, i64)>,
}

/// A discount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// `prm_…`.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What it takes off, in basis points.
    pub discount_bps: i64,
    /// The category that it is for; otherwise for every good.
    pub category: Option<String>,
    /// The code that a buyer must name; otherwise it applies by itself.
    pub code: Option<String>,
    /// From when it holds.
    pub start_time: Timestamp,
    /// Until when; otherwise for ever.
    pub end_time: Option<Timestamp>,
    /// When it was made.
    pub create_time: Timestamp,
}

/// One variant of a purchase. Amounts are in atoms of the currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is bought.
    pub offer: Arc<Offer>,
    /// How many pieces.
    pub quantity: i64,
    /// The list price of a piece.
    pub unit_price: i64,
    /// What the best promotion takes off the line.
    pub discount: i64,
    /// The tax on what is left.
    pub tax: i64,
    /// Its rate, in basis points.
    pub tax_bps: i64,
}

/// What a basket costs. Amounts are in atoms of the currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The goods.
    pub lines: Vec<Line>,
    /// What is paid in.
    pub currency: Unit,
    /// Where it goes.
    pub country: String,
    /// What the country calls its tax.
    pub tax_name: String,
    /// What shipping costs, before tax.
    pub shipping: i64,
    /// The tax on it.
    pub shipping_tax: i64,
    /// Its rate, in basis points.
    pub shipping_tax_bps: i64,
    /// Until when it holds.
    pub expire_time: Timestamp,
}

/// The sums of a purchase, in atoms of its currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The lines at list price.
    pub subtotal: i64,
    /// What promotions take off.
    pub discount: i64,
    /// The taxes of lines and shipping.
    pub tax: i64,
    /// What is paid.
    pub total: i64,
    /// By rate, the highest first: basis points, what it is taken from, and how much it is. None of nothing.
    pub taxes: Vec<(i64, i64, i64)>,
}

impl Basket {
    /// A basket in which every variant is once.
    ///
    /// # Errors
    /// `INVALID_FIELD` if it is empty, or too much is in it.
    pub fn new(items: impl IntoIterator<Item = (String, i64)>, currency: Unit, code: String) -> Result<Self, Error> {
        let mut merged: Vec<(String, i64)> = vec![];
        let mut places: HashMap<String, usize> = HashMap::new();
        for (variant, quantity) in items {
            if !(1..=QUANTITY_MAX).contains(&quantity) {
                return Err(invalid("basket.items.quantity", "must be between 1 and 10000"));
            }
            let place = *places.entry(variant.clone()).or_insert(merged.len());
            match merged.get_mut(place) {
                Some((_, sum)) => *sum += quantity,
                None => merged.push((variant, quantity)),
            }
            if merged.len() > LINES_MAX || merged[place].1 > QUANTITY_MAX {
                return Err(invalid("basket.items", "must be at most 100 variants, of each at most 10000 pieces"));
            }
        }
        if merged.is_empty() {
            return Err(invalid("basket.items", "must not be empty"));
        }
        Ok(Self { items: merged, currency, code })
    }
}

impl Offer {
    /// What a piece costs at this moment.
    fn price(&self, currency: &Unit, now: Timestamp) -> Option<i64> {
        let begun = self.prices.iter().filter(|(of, start, _)| *of == currency.code && *start <= now);
        begun.max_by_key(|(_, start, _)| *start).map(|(_, _, atoms)| *atoms)
    }
}

impl Promotion {
    /// Whether it holds at this moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.start_time <= now && self.end_time.is_none_or(|end| now < end)
    }

    /// Ends it now; one that lies ahead never begins.
    ///
    /// # Errors
    /// `INVALID_STATE_TRANSITION` if it has ended.
    pub fn ended(self, now: Timestamp) -> Result<Self, Error> {
        if let Some(end) = self.end_time.filter(|end| *end <= now) {
            let message = format!("The promotion `{}` ended at {end}.", self.id);
            return Err(Error::new(Reason::InvalidStateTransition, message).with("resource", &self.id));
        }
        Ok(Self { end_time: Some(now), ..self })
    }

    fn applies(&self, category: &str, code: &str, now: Timestamp) -> bool {
        self.holds(now)
            && self.category.as_deref().is_none_or(|of| of == category)
            && self.code.as_deref().is_none_or(|of| of == code)
    }
}

impl Line {
    /// The price of all pieces.
    pub fn gross(&self) -> i128 {
        i128::from(self.quantity) * i128::from(self.unit_price)
    }

    /// What is taxed.
    pub fn net(&self) -> i128 {
        self.gross() - i128::from(self.discount)
    }

    /// What the line costs, with its tax.
    pub fn total(&self) -> i128 {
        self.net() + i128::from(self.tax)
    }
}

impl Purchase {
    /// Prices a basket. `offers` has the variants that are known.
    ///
    /// # Errors
    /// `PRODUCT_UNAVAILABLE` with the first `variant` that is not on sale or has no price in the currency, and all such
    /// `variants`; `INVALID_FIELD` for a code of no promotion; `UNIT_MISMATCH` if nothing is shipped for this currency;
    /// `AMOUNT_OUT_OF_RANGE` if the sum does not fit.
    pub fn new(
        basket: &Basket,
        offers: &HashMap<String, Arc<Offer>>,
        promotions: &[Promotion],
        country: &Country,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let named = |promotion: &Promotion| promotion.code.as_ref() == Some(&basket.code) && promotion.holds(now);
        if !basket.code.is_empty() && !promotions.iter().any(named) {
            let what = "is not the code of a promotion that holds now; leave it out, or name another";
            return Err(invalid("basket.promotion_code", what));
        }
        let priced = |(variant, quantity): &(String, i64)| {
            let offer = offers.get(variant).filter(|offer| offer.on_sale);
            let offer = offer.ok_or_else(|| unavailable(variant, "is not on sale"))?;
            let price = offer.price(&basket.currency, now);
            let price =
                price.ok_or_else(|| unavailable(variant, &format!("has no price in {} yet", basket.currency.code)))?;
            let applicable = promotions.iter().filter(|one| one.applies(&offer.category, &basket.code, now));
            let discount_bps = applicable.map(|promotion| promotion.discount_bps).max().unwrap_or(0);
            line(offer.clone(), *quantity, price, discount_bps, country.tax_bps(offer.tax_class))
        };
        let lines: Vec<Result<Line, Error>> = basket.items.iter().map(priced).collect();
        let gone: Vec<&str> = lines.iter().filter_map(|line| line.as_ref().err()?.metadata("variant")).collect();
        let gone = gone.join(",");
        let named = |error: Error| if gone.is_empty() { error } else { error.with("variants", gone) };
        let lines = lines.into_iter().collect::<Result<Vec<_>, _>>().map_err(named)?;
        let shipped: Vec<&Line> = lines.iter().filter(|line| line.offer.physical).collect();
        let shipping = match shipped.as_slice() {
            [] => 0,
            shipped => country.shipping(&basket.currency, shipped.iter().map(|line| line.net()).sum())?,
        };
        let shipping_tax_bps = country.tax_bps(TaxClass::Standard);
        let purchase = Self {
            lines,
            currency: basket.currency.clone(),
            country: country.code.clone(),
            tax_name: country.tax_name.clone(),
            shipping,
            shipping_tax: share(i128::from(shipping), shipping_tax_bps, Rounding::HalfEven)?,
            shipping_tax_bps,
            expire_time: now + lifetime,
        };
        purchase.sums()?;
        Ok(purchase)
    }

    /// The sums over lines and shipping.
    ///
    /// # Errors
    /// `AMOUNT_OUT_OF_RANGE` if one does not fit, which [`Purchase::new`] rules out.
    pub fn sums(&self) -> Result<Sums, Error> {
        let (mut subtotal, mut discount, mut tax) = (0, 0, i128::from(self.shipping_tax));
        let mut by_rate: BTreeMap<i64, (i128, i128)> = BTreeMap::new();
        let shipping = (self.shipping_tax_bps, i128::from(self.shipping), self.shipping_tax);
        let lines = self.lines.iter().map(|line| (line.tax_bps, line.net(), line.tax));
        for (rate, base, amount) in lines.chain([shipping]).filter(|(rate, base, _)| *rate > 0 && *base > 0) {
            let sum = by_rate.entry(rate).or_default();
            *sum = (sum.0 + base, sum.1 + i128::from(amount));
        }
        for line in &self.lines {
            subtotal += line.gross();
            discount += i128::from(line.discount);
            tax += i128::from(line.tax);
        }
        let taxes = by_rate.into_iter().rev().map(|(rate, (base, amount))| Ok((rate, fit(base)?, fit(amount)?)));
        Ok(Sums {
            subtotal: fit(subtotal)?,
            discount: fit(discount)?,
            tax: fit(tax)?,
            total: fit(subtotal - discount + i128::from(self.shipping) + tax)?,
            taxes: taxes.collect::<Result<_, Error>>()?,
        })
    }

    /// Whether it still holds: it has not expired, and all of it is still sold. Prices and promotions may have changed.
    ///
    /// # Errors
    /// `QUOTE_EXPIRED`, `PRODUCT_UNAVAILABLE` with the `variant`.
    pub fn holds(&self, now: Timestamp) -> Result<(), Error> {
        if now >= self.expire_time {
            let message = format!("The quote expired at {}. Ask for a new one.", self.expire_time);
            return Err(Error::new(Reason::QuoteExpired, message).with("expire_time", self.expire_time.to_string()));
        }
        match self.lines.iter().find(|line| !line.offer.on_sale) {
            Some(line) => Err(unavailable(&line.offer.variant_id, "is no longer on sale")),
            None => Ok(()),
        }
    }
}

/// Refuses a variant that cannot be bought.
pub fn unavailable(variant: &str, why: &str) -> Error {
    let message = format!("The variant `{variant}` {why}. Leave it out.");
    Error::new(Reason::ProductUnavailable, message).with("variant", variant)
}

fn line(offer: Arc<Offer>, quantity: i64, unit_price: i64, discount_bps: i64, tax_bps: i64) -> Result<Line, Error> {
    let gross = i128::from(quantity) * i128::from(unit_price);
    let discount = share(gross, discount_bps, Rounding::Down)?;
    let tax = share(gross - i128::from(discount), tax_bps, Rounding::HalfEven)?;
    Ok(Line { offer, quantity, unit_price, discount, tax, tax_bps })
}

fn share(of: i128, bps: i64, rounding: Rounding) -> Result<i64, Error> {
    fit(divide(of * i128::from(bps), PER_BPS, rounding))
}

fn fit(atoms: i128) -> Result<i64, Error> {
    i64::try_from(atoms).map_err(|_| {
        let message = "The basket costs more than can be paid at once. Buy fewer pieces.";
        Error::new(Reason::AmountOutOfRange, message).at("basket.items")
    })
}

#[cfg(test)]
#[path = "purchase_tests.rs"]
mod tests;
