//! A cart: pieces of variants that someone thinks of buying. Nothing in it is set aside. No await, no clock, no I/O.

use contracts::{
    order::v1::{self as api, CartLine},
    r#type::v1::Reason,
};
use kit::{Error, Timestamp};

/// How many variants a cart has at the most.
pub const LINES_MAX: usize = 100;
/// How many pieces of a variant a cart has at the most.
pub const QUANTITY_MAX: i64 = 10_000;

/// Pieces of variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// `crt_…`; empty while nothing was ever put into it.
    pub id: String,
    /// Whose it is; nobody's if a guest has it.
    pub owner: Option<String>,
    /// Variants and how many pieces of each, in the order in which they were put in.
    pub items: Vec<(String, i64)>,
    /// The number of its last change.
    pub version: i64,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

impl Cart {
    /// A cart with nothing in it.
    pub fn empty(id: String, owner: Option<String>, now: Timestamp) -> Self {
        Self { id, owner, items: Vec::new(), version: 0, create_time: now, update_time: now }
    }

    /// Puts pieces in, on top of those that are there.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` past 100 variants, or 10,000 pieces of one.
    pub fn add(&mut self, variant_id: &str, quantity: i64) -> Result<(), Error> {
        self.set(variant_id, self.pieces(variant_id).saturating_add(quantity))
    }

    /// Says how many pieces there are of a variant. None takes it out.
    ///
    /// # Errors
    /// See [`Cart::add`].
    pub fn set(&mut self, variant_id: &str, quantity: i64) -> Result<(), Error> {
        if quantity < 1 {
            self.items.retain(|(id, _)| id != variant_id);
            return Ok(());
        }
        if quantity > QUANTITY_MAX {
            let message = format!("A cart takes {QUANTITY_MAX} pieces of a variant at the most.");
            return Err(limit(message, "pieces of a variant", QUANTITY_MAX).with("variant", variant_id));
        }
        if let Some((_, there)) = self.items.iter_mut().find(|(id, _)| id == variant_id) {
            *there = quantity;
            return Ok(());
        }
        if self.items.len() >= LINES_MAX {
            let message = format!("A cart takes {LINES_MAX} variants at the most. Take one out first.");
            return Err(limit(message, "variants in a cart", LINES_MAX));
        }
        self.items.push((variant_id.to_owned(), quantity));
        Ok(())
    }

    /// Puts in what another cart has. Of a variant in both, the larger number counts.
    ///
    /// # Errors
    /// See [`Cart::add`].
    pub fn merge(&mut self, other: &Cart) -> Result<(), Error> {
        for (variant_id, quantity) in &other.items {
            self.set(variant_id, self.pieces(variant_id).max(*quantity))?;
        }
        Ok(())
    }

    /// Puts back what was taken out to be ordered, on top of what is there, as far as the limits of a cart go.
    /// How many pieces stay out.
    pub fn put_back(&mut self, variant_id: &str, quantity: i64) -> i64 {
        let there = self.pieces(variant_id);
        let fitting = quantity.min(QUANTITY_MAX - there);
        // All that is refused then is a line too many.
        match self.set(variant_id, there + fitting) {
            Ok(()) => quantity - fitting,
            Err(_) => quantity,
        }
    }

    /// How many pieces of a variant are in it.
    fn pieces(&self, variant_id: &str) -> i64 {
        self.items.iter().find(|(id, _)| id == variant_id).map_or(0, |(_, quantity)| *quantity)
    }

    /// Changes with every change.
    pub fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }

    /// Refuses if the cart has changed since an etag was read; an empty one says that it does not matter.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn check(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        let message = "The cart has changed since it was read. Read it again.";
        Err(Error::new(Reason::EtagMismatch, message).with("etag", self.etag()))
    }

    /// The cart as the contract writes it, without prices.
    pub fn message(&self) -> api::Cart {
        let line = |(variant_id, quantity): &(String, i64)| CartLine {
            variant_id: variant_id.clone(),
            quantity: *quantity,
            ..Default::default()
        };
        let stored = !self.id.is_empty();
        api::Cart {
            id: self.id.clone(),
            owner_id: self.owner.clone().unwrap_or_default(),
            lines: self.items.iter().map(line).collect(),
            subtotal: None,
            etag: self.etag(),
            create_time: stored.then(|| self.create_time.to_proto()),
            update_time: stored.then(|| self.update_time.to_proto()),
        }
    }
}

fn limit(message: String, what: &str, most: impl ToString) -> Error {
    Error::new(Reason::LimitExceeded, message).with("limit", what).with("max", most.to_string())
}
