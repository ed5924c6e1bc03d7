//! What a location has of a variant, and every way in which that changes. No await, no clock, no I/O.

use contracts::{inventory::v1::stock_movement::Kind, r#type::v1::Reason};
use kit::{Error, Timestamp};

/// Where goods are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `loc_…`.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Reservations are taken from the lowest rank that has the goods.
    pub rank: i64,
    /// Whether reservations may be taken from it.
    pub active: bool,
    /// The number of its last change, from 1.
    pub version: i64,
    /// When it was added.
    pub create_time: Timestamp,
}

/// What a location has of a variant. Always `0 <= reserved <= on_hand`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `stk_…`, derived from variant and location.
    pub id: String,
    /// `var_…`.
    pub variant_id: String,
    /// `loc_…`.
    pub location_id: String,
    /// How many pieces are there.
    pub on_hand: i64,
    /// How many of them are reserved.
    pub reserved: i64,
    /// How many are never sold.
    pub safety_stock: i64,
    /// Below how many available pieces it is low; never if zero.
    pub low_threshold: i64,
    /// The number of the last movement.
    pub movements: i64,
    /// How many facts were told about it.
    pub facts: i64,
    /// The number of the last change; zero until it is stored.
    pub version: i64,
    /// When it was added.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// One change of what a location has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The item.
    pub item_id: String,
    /// Its number among the movements of the item, from 1.
    pub sequence: i64,
    /// Why.
    pub kind: Kind,
    /// How many pieces came, or went where it is negative.
    pub quantity: i64,
    /// How many were on hand after it.
    pub on_hand: i64,
    /// What it was for.
    pub reference: String,
    /// When.
    pub time: Timestamp,
}

/// An item where reservations look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// What is there.
    pub item: Item,
    /// The rank of its location.
    pub rank: i64,
    /// Whether its location is active.
    pub active: bool,
}

/// Pieces of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// The item.
    pub item_id: String,
    /// How many.
    pub quantity: i64,
}

/// From where to take `quantity` pieces of one variant: active locations only, the lowest rank first, from several if
/// one has not enough.
///
/// # Errors
/// How many could be had, if that is fewer.
pub fn allocate<'a>(shelves: impl IntoIterator<Item = &'a Shelf>, quantity: i64) -> Result<Vec<Pieces>, i64> {
    let mut open: Vec<&Shelf> = shelves.into_iter().filter(|shelf| shelf.active).collect();
    open.sort_by_key(|shelf| (shelf.rank, &shelf.item.id));
    let mut missing = quantity;
    let mut taken = Vec::new();
    for Shelf { item, .. } in open {
        let pieces = item.available().min(missing);
        if pieces > 0 {
            taken.push(Pieces { item_id: item.id.clone(), quantity: pieces });
            missing -= pieces;
        }
    }
    if missing == 0 { Ok(taken) } else { Err(quantity - missing) }
}

impl Location {
    /// The text that changes with every change.
    pub fn etag(&self) -> String {
        etag(self.version)
    }

    /// Refuses if the location has changed since `seen`; empty means that it does not matter.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn expect(&self, seen: &str) -> Result<(), Error> {
        expect(self.version, seen)
    }
}

impl Item {
    /// The id of what a location has of a variant.
    pub fn id_of(variant_id: &str, location_id: &str) -> String {
        kit::id::derive("stk", variant_id, location_id)
    }

    /// An item of which there is nothing yet.
    pub fn new(variant_id: &str, location_id: &str, now: Timestamp) -> Self {
        Self {
            id: Self::id_of(variant_id, location_id),
            variant_id: variant_id.to_owned(),
            location_id: location_id.to_owned(),
            on_hand: 0,
            reserved: 0,
            safety_stock: 0,
            low_threshold: 0,
            movements: 0,
            facts: 0,
            version: 0,
            create_time: now,
            update_time: now,
        }
    }

    /// How many pieces can be reserved.
    pub fn available(&self) -> i64 {
        (self.on_hand - self.reserved - self.safety_stock).max(0)
    }

    /// Whether there are fewer than there should be.
    pub fn is_low(&self) -> bool {
        self.available() < self.low_threshold
    }

    /// The text that changes with every change.
    pub fn etag(&self) -> String {
        etag(self.version)
    }

    /// Refuses if the item has changed since `seen`; empty means that it does not matter.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn expect(&self, seen: &str) -> Result<(), Error> {
        expect(self.version, seen)
    }

    /// Notes that the item changes. Once in a unit, however much of it changes there.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.update_time = now;
    }

    /// Sets pieces aside.
    ///
    /// # Errors
    /// `OUT_OF_STOCK`; nothing has changed then, as with every error here.
    pub fn reserve(&mut self, quantity: i64) -> Result<(), Error> {
        if !(0..=self.available()).contains(&quantity) {
            return Err(out_of_stock(&self.variant_id, self.available()));
        }
        self.reserved += quantity;
        Ok(())
    }

    /// Gives pieces back that were set aside.
    ///
    /// # Errors
    /// `SERIALIZATION_FAILURE` if they were not: others have shipped them or given them back meanwhile.
    pub fn give_back(&mut self, quantity: i64) -> Result<(), Error> {
        self.reserved -= self.set_aside(quantity)?;
        Ok(())
    }

    /// Ships pieces that were set aside.
    ///
    /// # Errors
    /// `SERIALIZATION_FAILURE` if they were not: others have shipped them or given them back meanwhile.
    pub fn ship(&mut self, quantity: i64, reference: &str, now: Timestamp) -> Result<Movement, Error> {
        self.reserved -= self.set_aside(quantity)?;
        self.note(Kind::Shipped, -quantity, reference, now)
    }

    /// Notes that pieces were received, counted, lost or returned. `quantity` is how many came or were lost, or how
    /// many there are.
    ///
    /// # Errors
    /// `OUT_OF_STOCK` if reserved pieces would be missing, `INVALID_FIELD` for nothing or another kind,
    /// `AMOUNT_OUT_OF_RANGE` for more than can be counted.
    pub fn adjust(&mut self, kind: Kind, quantity: i64, reference: &str, now: Timestamp) -> Result<Movement, Error> {
        // Nothing is no delivery and no loss, but may well be counted.
        if quantity < i64::from(kind != Kind::Counted) {
            return Err(invalid("quantity", "Say how many pieces came or were lost: at least 1."));
        }
        let change = match kind {
            Kind::Received | Kind::Returned => quantity,
            Kind::Counted => quantity - self.on_hand,
            Kind::Lost => -quantity,
            Kind::Unspecified | Kind::Shipped | Kind::Transferred => {
                let message = "Stock is adjusted because it was received, counted, lost or returned.";
                return Err(invalid("kind", message));
            }
        };
        self.note(kind, change, reference, now)
    }

    /// Moves pieces that are not reserved to another location.
    ///
    /// # Errors
    /// `OUT_OF_STOCK`.
    pub fn transfer(&mut self, to: &mut Item, quantity: i64, now: Timestamp) -> Result<[Movement; 2], Error> {
        let mut after = self.clone();
        let gone = after.note(Kind::Transferred, -quantity, &to.location_id, now)?;
        let come = to.note(Kind::Transferred, quantity, &self.location_id, now)?;
        *self = after;
        Ok([gone, come])
    }

    fn note(&mut self, kind: Kind, change: i64, reference: &str, now: Timestamp) -> Result<Movement, Error> {
        let too_many = || Error::new(Reason::AmountOutOfRange, "That is more than can be counted.").at("quantity");
        let on_hand = self.on_hand.checked_add(change).ok_or_else(too_many)?;
        if on_hand < self.reserved {
            return Err(out_of_stock(&self.variant_id, self.on_hand - self.reserved));
        }
        self.on_hand = on_hand;
        self.movements += 1;
        Ok(Movement {
            item_id: self.id.clone(),
            sequence: self.movements,
            kind,
            quantity: change,
            on_hand,
            reference: reference.to_owned(),
            time: now,
        })
    }

    fn set_aside(&self, quantity: i64) -> Result<i64, Error> {
        if (0..=self.reserved).contains(&quantity) {
            return Ok(quantity);
        }
        Err(overtaken())
    }
}

/// The refusal for want of pieces.
pub fn out_of_stock(variant_id: &str, available: i64) -> Error {
    let message = match available {
        0 => format!("There is nothing left of {variant_id}."),
        _ => format!("Only {available} pieces of {variant_id} can be had."),
    };
    Error::new(Reason::OutOfStock, message).with("variant", variant_id).with("available", available.to_string())
}

/// Others were faster: what was decided on is no longer what is stored.
pub fn overtaken() -> Error {
    let message = "Another request changed the same stock at the same time. Repeat this one.";
    Error::new(Reason::SerializationFailure, message)
}

/// The refusal of a field.
pub fn invalid(field: &str, message: &str) -> Error {
    Error::new(Reason::InvalidField, message).with("field", field).violation(field, message)
}

fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}

fn expect(version: i64, seen: &str) -> Result<(), Error> {
    if seen.is_empty() || seen == etag(version) {
        return Ok(());
    }
    let message = "This has changed since it was read. Read it again, and repeat the change if it still makes sense.";
    Err(Error::new(Reason::EtagMismatch, message).with("etag", etag(version)))
}
