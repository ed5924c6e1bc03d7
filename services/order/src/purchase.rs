//! A purchase: goods for money, how many of them were shipped, cancelled and returned, and which part of the money
//! belongs to which pieces. No await, no clock, no I/O.
//!
//! Money is shared by counting: the first `k` of the `n` pieces of a line cost `floor(total * k / n)`, and pieces `a` to
//! `b` cost the difference. So the parts of a line sum exactly to the line, however it is shipped. What the total has
//! beyond the lines is shipping, which is charged with the first parcel.

use std::collections::BTreeMap;

use contracts::{
    catalog::v1::{PurchaseQuote, QuoteLine, product::Kind},
    order::v1::{self as api, LineQuantity, OrderLine},
    r#type::v1::{Amount, PostalAddress, Reason},
};
use kit::Error;

/// Goods for money, as they were quoted, and what became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Purchase(Box<api::Purchase>);

/// What a count of pieces is for.
#[derive(Clone, Copy)]
enum Count {
    Shipped,
    Returned,
}

impl Purchase {
    /// The purchase that a quote is for.
    ///
    /// # Errors
    /// `INVALID_FIELD` if a good is shipped and the address is missing or in another country than the quote is for;
    /// `INTERNAL` if the quote makes no sense.
    pub fn of(quote: PurchaseQuote, address: Option<PostalAddress>, payment_method_id: String) -> Result<Self, Error> {
        let lines = quote.lines.into_iter().map(line).collect::<Result<Vec<_>, Error>>()?;
        check_address(&lines, address.as_ref(), &quote.country_code)?;
        let purchase = Self::read(api::Purchase {
            lines,
            subtotal: quote.subtotal,
            discount: quote.discount,
            shipping: quote.shipping,
            tax: quote.tax,
            total: quote.total,
            taxes: quote.taxes,
            shipping_address: address,
            payment_method_id,
            ..Default::default()
        });
        let mut variants: Vec<_> = purchase.0.lines.iter().map(|line| &line.variant_id).collect();
        variants.sort();
        variants.dedup();
        let whole = purchase.0.lines.iter().all(|line| line.quantity > 0);
        if variants.is_empty() || variants.len() != purchase.0.lines.len() || !whole || purchase.shipping_fee()? < 0 {
            return Err(Error::internal("the quote of a purchase makes no sense"));
        }
        let nothing = Some(purchase.amount(0)?);
        Ok(Self::read(api::Purchase { captured: nothing.clone(), refunded: nothing, ..*purchase.0 }))
    }

    /// What a row has.
    pub fn read(message: api::Purchase) -> Self {
        Self(Box::new(message))
    }

    /// As the contract writes it.
    pub fn message(&self) -> &api::Purchase {
        &self.0
    }

    /// The same purchase as a part of an order, whose id names its reservation and its payment.
    pub fn named(self, order_id: &str) -> Result<Self, Error> {
        let reservation = self.0.lines.iter().any(|line| !line.digital);
        let payment = self.total()? > 0;
        let id = |wanted: bool, prefix, step| match wanted {
            true => kit::id::derive(prefix, order_id, step),
            false => String::new(),
        };
        let reservation_id = id(reservation, "rsv", "reservation");
        let payment_id = id(payment, "pay", "payment");
        Ok(Self::read(api::Purchase { reservation_id, payment_id, ..*self.0 }))
    }

    /// The same purchase, checked out from a cart.
    pub fn with_cart(self, cart_id: &str) -> Self {
        Self::read(api::Purchase { cart_id: cart_id.to_owned(), ..*self.0 })
    }

    /// The goods that are kept in stock, and how many were ordered.
    pub fn reserved(&self) -> Vec<LineQuantity> {
        self.0.lines.iter().filter(|line| !line.digital).map(|line| pieces(line, line.quantity)).collect()
    }

    /// The pieces that are neither shipped nor cancelled.
    pub fn left(&self) -> Vec<LineQuantity> {
        let left = self.0.lines.iter().map(|line| pieces(line, left(line)));
        left.filter(|pieces| pieces.quantity > 0).collect()
    }

    /// The pieces that are left and need no parcel.
    pub fn left_digital(&self) -> Vec<LineQuantity> {
        let digital = |pieces: &LineQuantity| !self.is_physical(&pieces.variant_id);
        self.left().into_iter().filter(digital).collect()
    }

    /// Whether a variant is kept in stock.
    pub fn is_physical(&self, variant_id: &str) -> bool {
        self.0.lines.iter().any(|line| line.variant_id == variant_id && !line.digital)
    }

    /// The purchase after pieces have left, which pieces, and what is charged for them. Without pieces, everything that
    /// is left goes.
    ///
    /// # Errors
    /// `INVALID_FIELD` for what was not ordered, `QUANTITY_LIMIT` for more than is left.
    pub fn ship(&self, wanted: &[LineQuantity]) -> Result<(Self, Vec<LineQuantity>, Amount), Error> {
        let wanted = if wanted.is_empty() { self.left() } else { merged(wanted) };
        let parcel = |line: &&OrderLine| !line.digital || self.0.lines.iter().all(|line| line.digital);
        let before = self.0.lines.iter().filter(parcel).any(|line| line.shipped > 0);
        let (after, lines) = self.count(&wanted, Count::Shipped)?;
        let leaves = after.0.lines.iter().filter(parcel).any(|line| line.shipped > 0);
        let fee = if leaves && !before { self.shipping_fee()? } else { 0 };
        let amount = self.amount(lines + fee)?;
        Ok((after, wanted, amount))
    }

    /// The purchase after packed pieces did not leave.
    pub fn unship(&self, pieces: &[LineQuantity]) -> Self {
        let mut after = self.0.clone();
        for pieces in pieces {
            let line = after.lines.iter_mut().find(|line| line.variant_id == pieces.variant_id);
            if let Some(line) = line {
                line.shipped = (line.shipped - pieces.quantity).max(0);
            }
        }
        Self(after)
    }

    /// How many pieces of a variant have left, or are packed.
    pub fn shipped(&self, variant_id: &str) -> i64 {
        self.0.lines.iter().filter(|line| line.variant_id == variant_id).map(|line| line.shipped).sum()
    }

    /// The purchase after pieces came back, which pieces, and what is given back for them. Shipping is not.
    ///
    /// # Errors
    /// `INVALID_FIELD` for what was not ordered, `QUANTITY_LIMIT` for more than was shipped and did not come back yet.
    pub fn take_back(&self, wanted: &[LineQuantity]) -> Result<(Self, Vec<LineQuantity>, Amount), Error> {
        let wanted = merged(wanted);
        let (after, atoms) = self.count(&wanted, Count::Returned)?;
        let amount = self.amount(atoms)?;
        Ok((after, wanted, amount))
    }

    /// The purchase after everything that is left was cancelled.
    pub fn cancel_rest(&self) -> Self {
        let mut after = self.0.clone();
        for line in &mut after.lines {
            line.cancelled += left(line);
        }
        Self(after)
    }

    /// The purchase after money was taken.
    pub fn capture(&self, amount: &Amount) -> Result<Self, Error> {
        let captured = Some(self.plus(self.0.captured.as_ref(), amount)?);
        Ok(Self::read(api::Purchase { captured, ..(*self.0).clone() }))
    }

    /// The purchase after money was given back.
    pub fn refund(&self, amount: &Amount) -> Result<Self, Error> {
        let refunded = Some(self.plus(self.0.refunded.as_ref(), amount)?);
        Ok(Self::read(api::Purchase { refunded, ..(*self.0).clone() }))
    }

    /// The purchase while the buyer must confirm the payment somewhere, or no longer.
    pub fn with_action(&self, action_url: String) -> Self {
        Self::read(api::Purchase { action_url, ..(*self.0).clone() })
    }

    /// What the buyer pays, in the smallest part of the currency that any of its amounts names.
    pub fn total(&self) -> Result<i64, Error> {
        self.atoms(self.0.total.as_ref())
    }

    /// An amount of this purchase, in the smallest part of the currency that any of its amounts names; nothing is zero.
    pub fn atoms(&self, amount: Option<&Amount>) -> Result<i64, Error> {
        let Some(amount) = amount else { return Ok(0) };
        kit::amount::parse(&amount.value, self.scale()).map_err(Error::internal)
    }

    /// So much money, as the amounts of this purchase are written.
    pub fn amount(&self, atoms: i64) -> Result<Amount, Error> {
        let total = self.0.total.as_ref().ok_or_else(|| Error::internal("a purchase has no total"))?;
        Ok(Amount { value: kit::amount::format(atoms, self.scale()), unit: total.unit.clone() })
    }

    fn plus(&self, sum: Option<&Amount>, amount: &Amount) -> Result<Amount, Error> {
        self.amount(self.atoms(sum)? + self.atoms(Some(amount))?)
    }

    /// What the total has beyond the lines: shipping and its tax.
    fn shipping_fee(&self) -> Result<i64, Error> {
        let lines = self.0.lines.iter().map(|line| self.atoms(line.total.as_ref()));
        let lines = lines.sum::<Result<i64, Error>>()?;
        Ok(self.total()? - lines)
    }

    /// How many decimals its amounts have.
    fn scale(&self) -> u8 {
        let lines = self.0.lines.iter().filter_map(|line| line.total.as_ref());
        let decimals = |amount: &Amount| amount.value.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let most = lines.chain(self.0.total.as_ref()).map(decimals).max().unwrap_or(0);
        u8::try_from(most).unwrap_or(kit::amount::SCALE_MAX).min(kit::amount::SCALE_MAX)
    }

    /// Counts pieces as shipped or returned. Gives the purchase after it and their part of the money.
    fn count(&self, wanted: &[LineQuantity], count: Count) -> Result<(Self, i64), Error> {
        let mut after = self.clone();
        let mut atoms = 0_i64;
        for pieces in wanted {
            let Some(line) = after.0.lines.iter_mut().find(|line| line.variant_id == pieces.variant_id) else {
                let message = format!("The order has no line for {}.", pieces.variant_id);
                let violation = "must be a variant of the order";
                return Err(Error::new(Reason::InvalidField, message).violation("lines.variant_id", violation));
            };
            let (counted, most) = match count {
                Count::Shipped => (&mut line.shipped, line.quantity - line.cancelled),
                Count::Returned => (&mut line.returned, line.shipped),
            };
            let (first, last) = (*counted, counted.saturating_add(pieces.quantity));
            if pieces.quantity < 1 || last > most {
                return Err(too_many(pieces, most - first, count));
            }
            *counted = last;
            let (quantity, total) = (line.quantity, self.atoms(line.total.as_ref())?);
            atoms += share(total, quantity, last) - share(total, quantity, first);
        }
        if wanted.is_empty() {
            return Err(Error::new(Reason::QuantityLimit, "Nothing is left for this."));
        }
        Ok((after, atoms))
    }
}

/// What the first pieces of a line cost.
fn share(total: i64, quantity: i64, pieces: i64) -> i64 {
    let part = i128::from(total) * i128::from(pieces) / i128::from(quantity.max(1));
    // No larger than the total, since there are no more pieces than the quantity.
    i64::try_from(part).unwrap_or(total)
}

fn left(line: &OrderLine) -> i64 {
    line.quantity - line.shipped - line.cancelled
}

fn pieces(line: &OrderLine, quantity: i64) -> LineQuantity {
    LineQuantity { variant_id: line.variant_id.clone(), quantity }
}

/// A variant once, with all of its pieces.
fn merged(wanted: &[LineQuantity]) -> Vec<LineQuantity> {
    let mut sums = BTreeMap::<&str, i64>::new();
    for pieces in wanted {
        let sum = sums.entry(&pieces.variant_id).or_default();
        *sum = sum.saturating_add(pieces.quantity);
    }
    let pieces = |(variant_id, quantity): (&str, i64)| LineQuantity { variant_id: variant_id.to_owned(), quantity };
    sums.into_iter().map(pieces).collect()
}

fn line(quoted: QuoteLine) -> Result<OrderLine, Error> {
    let digital = match quoted.kind() {
        Kind::PhysicalGood => false,
        Kind::DigitalGood => true,
        Kind::Asset | Kind::Unspecified => return Err(Error::internal("a quote of goods has a line that is no good")),
    };
    Ok(OrderLine {
        variant_id: quoted.variant_id,
        product_id: quoted.product_id,
        sku: quoted.sku,
        title: quoted.title,
        digital,
        quantity: quoted.quantity,
        shipped: 0,
        cancelled: 0,
        returned: 0,
        unit_price: quoted.unit_price,
        discount: quoted.discount,
        tax: quoted.tax,
        total: quoted.total,
        tax_bps: quoted.tax_bps,
    })
}

fn check_address(lines: &[OrderLine], address: Option<&PostalAddress>, country_code: &str) -> Result<(), Error> {
    let invalid =
        |field, message: &str, violation| Error::new(Reason::InvalidField, message).violation(field, violation);
    match address {
        None if lines.iter().any(|line| !line.digital) => {
            Err(invalid("shipping_address", "Say where the goods go.", "is required for goods that are shipped"))
        }
        Some(address) if address.country_code != country_code && !country_code.is_empty() => {
            let message = format!("The quote is for {country_code}. Ask for one for the country of the address.");
            Err(invalid("shipping_address.country_code", &message, "must be the country of the quote"))
        }
        _ => Ok(()),
    }
}

fn too_many(pieces: &LineQuantity, left: i64, count: Count) -> Error {
    let (variant, most) = (&pieces.variant_id, left.max(0));
    let message = match count {
        Count::Shipped => format!("Of {variant} {most} pieces are left to be shipped. Ship no more than these."),
        Count::Returned => format!(
            "Of {variant} {most} pieces can come back: those that were shipped, and are not back or announced yet."
        ),
    };
    Error::new(Reason::QuantityLimit, message)
        .with("variant", &pieces.variant_id)
        .with("available", left.max(0).to_string())
}
