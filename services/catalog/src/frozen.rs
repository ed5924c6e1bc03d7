//! What the token of a purchase holds: what was agreed on, and of the goods only their ids, so that a token of many lines
//! stays short enough for a request. Names and states come from the catalogue of the moment in which it comes back. Pure.

use std::{collections::HashMap, sync::Arc};

use kit::{Error, Timestamp};
use prost::Message;

use crate::{
    product::{Unit, UnitKind},
    purchase::{Line, Offer, Purchase, unavailable},
};

/// A purchase without what the catalogue knows of its goods.
#[derive(Clone, PartialEq, Message)]
pub struct Frozen {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(message, repeated, tag = "2")]
    lines: Vec<FrozenLine>,
    #[prost(string, tag = "3")]
    currency: String,
    #[prost(uint32, tag = "4")]
    currency_scale: u32,
    #[prost(string, tag = "5")]
    country: String,
    #[prost(string, tag = "6")]
    tax_name: String,
    #[prost(int64, tag = "7")]
    shipping: i64,
    #[prost(int64, tag = "8")]
    shipping_tax: i64,
    #[prost(int64, tag = "9")]
    shipping_tax_bps: i64,
    #[prost(int64, tag = "10")]
    expire_micros: i64,
    /// Makes two quotes of the same moment two quotes.
    #[prost(fixed64, tag = "11")]
    nonce: u64,
}

#[derive(Clone, PartialEq, Message)]
struct FrozenLine {
    #[prost(string, tag = "1")]
    variant: String,
    #[prost(int64, tag = "2")]
    quantity: i64,
    #[prost(int64, tag = "3")]
    unit_price: i64,
    #[prost(int64, tag = "4")]
    discount: i64,
    #[prost(int64, tag = "5")]
    tax: i64,
    #[prost(int64, tag = "6")]
    tax_bps: i64,
}

impl Frozen {
    /// Freezes a purchase for `owner`.
    pub fn new(purchase: &Purchase, owner: &str, nonce: u64) -> Self {
        let line = |line: &Line| FrozenLine {
            variant: line.offer.variant_id.clone(),
            quantity: line.quantity,
            unit_price: line.unit_price,
            discount: line.discount,
            tax: line.tax,
            tax_bps: line.tax_bps,
        };
        Self {
            owner: owner.to_owned(),
            lines: purchase.lines.iter().map(line).collect(),
            currency: purchase.currency.code.clone(),
            currency_scale: purchase.currency.scale.into(),
            country: purchase.country.clone(),
            tax_name: purchase.tax_name.clone(),
            shipping: purchase.shipping,
            shipping_tax: purchase.shipping_tax,
            shipping_tax_bps: purchase.shipping_tax_bps,
            expire_micros: purchase.expire_time.micros(),
            nonce,
        }
    }

    /// Whose it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The variants that it is about.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.variant.as_str())
    }

    /// The purchase as it was, of goods as they are now.
    ///
    /// # Errors
    /// `PRODUCT_UNAVAILABLE` with the `variant` that is gone; `INTERNAL` if we have signed nonsense.
    pub fn thaw(self, offers: &HashMap<String, Arc<Offer>>) -> Result<Purchase, Error> {
        let line = |line: FrozenLine| {
            let offer = offers.get(&line.variant).ok_or_else(|| unavailable(&line.variant, "is no longer on sale"))?;
            let FrozenLine { quantity, unit_price, discount, tax, tax_bps, .. } = line;
            Ok(Line { offer: offer.clone(), quantity, unit_price, discount, tax, tax_bps })
        };
        let scale = u8::try_from(self.currency_scale).map_err(Error::internal)?;
        Ok(Purchase {
            lines: self.lines.into_iter().map(line).collect::<Result<_, Error>>()?,
            currency: Unit { code: self.currency, kind: UnitKind::Fiat, scale },
            country: self.country,
            tax_name: self.tax_name,
            shipping: self.shipping,
            shipping_tax: self.shipping_tax,
            shipping_tax_bps: self.shipping_tax_bps,
            expire_time: Timestamp::from_micros(self.expire_micros),
        })
    }
}
