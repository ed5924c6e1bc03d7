//! A reservation: pieces set aside for an order, and every move it can make. No await, no clock, no I/O.

use std::{collections::BTreeMap, time::Duration};

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

use crate::stock::{Pieces, invalid};

/// In how many shipments a reservation may leave.
const SHIPMENTS: usize = 1_000;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The pieces are set aside.
    Held,
    /// They were shipped, or as many of them as were wanted.
    Committed,
    /// They were given back.
    Released,
    /// Nobody wanted them in time.
    Expired,
}

/// Pieces of one variant, as a caller asks for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// `var_…`.
    pub variant_id: String,
    /// How many.
    pub quantity: i64,
}

/// What a line took from one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The item.
    pub item_id: String,
    /// How many pieces.
    pub quantity: i64,
    /// How many of them were shipped.
    pub committed: i64,
}

/// Pieces of one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `var_…`.
    pub variant_id: String,
    /// What was taken from where, in the order in which it leaves.
    pub portions: Vec<Portion>,
}

/// A shipment that pieces left with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// `shp_…`.
    pub id: String,
    /// What was asked for, by variant; nothing if it was everything that was left.
    pub wanted: Vec<Wanted>,
}

/// Pieces set aside for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// `rsv_…`.
    pub id: String,
    /// What it is for.
    pub reference: String,
    /// Where it stands.
    pub state: State,
    /// The pieces. None if it was released before it was made.
    pub lines: Vec<Line>,
    /// What has left.
    pub shipments: Vec<Shipment>,
    /// Until when it is held; for ever once it is pinned.
    pub expire_time: Option<Timestamp>,
    /// How many facts were told about it.
    pub facts: i64,
    /// The number of the last change; zero until it is stored.
    pub version: i64,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What is asked of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Set pieces aside.
    Create {
        /// What for.
        reference: String,
        /// The pieces, a line per variant.
        wanted: Vec<Wanted>,
        /// For how long.
        lifetime: Duration,
    },
    /// Take its expiry away.
    Pin,
    /// Hold it for at least this long from now.
    Extend(Duration),
    /// Ship pieces.
    Commit {
        /// With which shipment.
        shipment_id: String,
        /// The pieces; everything that is left if there are none.
        wanted: Vec<Wanted>,
    },
    /// Give back what was not shipped.
    Release {
        /// What it was for.
        reference: String,
    },
    /// Give back what nobody wanted in time. Nothing if it is not due.
    Expire,
}

/// What became true with a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Pieces are set aside.
    Reserved,
    /// Pieces were shipped.
    Committed,
    /// Pieces were given back.
    Released,
    /// Nobody wanted them in time.
    Expired,
}

/// What a move does to stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Pieces are no longer set aside.
    GiveBack(Pieces),
    /// Pieces leave.
    Ship(Pieces),
}

/// A move: the reservation after it, what it does to stock, and what became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The reservation after it.
    pub after: Reservation,
    /// What it does to stock, at most once per item.
    pub effects: Vec<Effect>,
    /// What became true.
    pub fact: Option<Fact>,
}

impl State {
    /// The state's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Committed => "COMMITTED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` for a name that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        [Self::Held, Self::Committed, Self::Released, Self::Expired]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("no reservation is `{name}`")))
    }
}

impl Line {
    /// How many pieces were reserved.
    pub fn quantity(&self) -> i64 {
        self.portions.iter().map(|portion| portion.quantity).sum()
    }

    /// How many of them were shipped.
    pub fn committed(&self) -> i64 {
        self.portions.iter().map(|portion| portion.committed).sum()
    }

    /// How many are left.
    fn left(&self) -> i64 {
        self.quantity() - self.committed()
    }

    /// Ships pieces, from the first portions first.
    fn ship(&mut self, mut quantity: i64, effects: &mut Vec<Effect>) {
        for portion in &mut self.portions {
            let pieces = quantity.min(portion.quantity - portion.committed);
            if pieces > 0 {
                portion.committed += pieces;
                quantity -= pieces;
                effects.push(Effect::Ship(Pieces { item_id: portion.item_id.clone(), quantity: pieces }));
            }
        }
    }
}

impl Reservation {
    /// A new reservation of pieces that were found, per variant.
    pub fn new(
        id: &str,
        reference: &str,
        found: Vec<(String, Vec<Pieces>)>,
        expire_time: Timestamp,
        now: Timestamp,
    ) -> Self {
        let portion = |Pieces { item_id, quantity }| Portion { item_id, quantity, committed: 0 };
        let line = |(variant_id, pieces): (String, Vec<Pieces>)| Line {
            variant_id,
            portions: pieces.into_iter().map(portion).collect(),
        };
        Self {
            lines: found.into_iter().map(line).collect(),
            state: State::Held,
            expire_time: Some(expire_time),
            ..Self::never_made(id, reference, now)
        }
    }

    /// What was released before it was made: it cannot be made afterwards.
    pub fn never_made(id: &str, reference: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            reference: reference.to_owned(),
            state: State::Released,
            lines: Vec::new(),
            shipments: Vec::new(),
            expire_time: None,
            facts: 0,
            version: 0,
            create_time: now,
            update_time: now,
        }
    }

    /// Whether its time is over although nobody has said so yet.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Held && self.expire_time.is_some_and(|expire_time| expire_time <= now)
    }

    /// How many pieces of each item are set aside.
    pub fn set_aside(&self) -> impl Iterator<Item = Pieces> {
        let portions = self.lines.iter().flat_map(|line| &line.portions).filter(|_| self.state == State::Held);
        portions
            .map(|portion| Pieces { item_id: portion.item_id.clone(), quantity: portion.quantity - portion.committed })
    }

    /// Every legal move. Nothing to do, as for a repeat, is no move.
    ///
    /// # Errors
    /// `RESERVATION_EXPIRED`, `RESERVATION_NOT_HELD`, `QUANTITY_LIMIT` for more than is left, `INVALID_FIELD` for
    /// pieces that it does not have, `IDEMPOTENCY_KEY_REUSED` for something else under an id that is taken.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Option<Move>, Error> {
        let state = if self.is_due(now) { State::Expired } else { self.state };
        match (command, state) {
            (Command::Create { reference, wanted, .. }, _) => self.repeat(reference, wanted),

            (Command::Pin, State::Held) if self.expire_time.is_none() => Ok(None),
            (Command::Pin, State::Held) => Ok(Some(self.until(None))),
            // It was pinned when the first pieces left.
            (Command::Pin, State::Committed) => Ok(None),
            (Command::Pin, State::Released) => Err(self.not_held()),
            (Command::Pin, State::Expired) => Err(self.expired()),

            (Command::Extend(lifetime), State::Held) => {
                let later = self.expire_time.filter(|until| *until < now + *lifetime);
                Ok(later.map(|_| self.until(Some(now + *lifetime))))
            }
            (Command::Extend(_), State::Committed | State::Released) => Err(self.not_held()),
            (Command::Extend(_), State::Expired) => Err(self.expired()),

            (Command::Commit { shipment_id, wanted }, State::Held | State::Committed) => {
                match self.shipments.iter().find(|shipment| shipment.id == *shipment_id) {
                    Some(shipment) if same(&shipment.wanted, wanted) => Ok(None),
                    Some(_) => Err(self.reused(shipment_id)),
                    None if state == State::Held => self.commit(shipment_id, wanted).map(Some),
                    None => Err(self.not_held()),
                }
            }
            (Command::Commit { .. }, State::Released) => Err(self.not_held()),
            (Command::Commit { .. }, State::Expired) => Err(self.expired()),

            (Command::Release { reference }, _) if *reference != self.reference => Err(self.reused(&self.id)),
            (Command::Release { .. }, State::Held) => Ok(Some(self.end(Fact::Released))),
            // Nothing is left to give back; the state says whether it was shipped.
            (Command::Release { .. }, State::Committed | State::Released | State::Expired) => Ok(None),

            (Command::Expire, State::Expired) if self.state == State::Held => Ok(Some(self.end(Fact::Expired))),
            (Command::Expire, _) => Ok(None),
        }
    }

    fn left(&self) -> i64 {
        self.lines.iter().map(Line::left).sum()
    }

    fn repeat(&self, reference: &str, wanted: &[Wanted]) -> Result<Option<Move>, Error> {
        if self.reference == reference && self.lines.is_empty() {
            return Err(self.not_held());
        }
        let mine = |line: &Line| Wanted { variant_id: line.variant_id.clone(), quantity: line.quantity() };
        let mine: Vec<Wanted> = self.lines.iter().map(mine).collect();
        if self.reference == reference && same(&mine, wanted) { Ok(None) } else { Err(self.reused(&self.id)) }
    }

    fn until(&self, expire_time: Option<Timestamp>) -> Move {
        Move { after: Self { expire_time, ..self.clone() }, effects: Vec::new(), fact: None }
    }

    fn commit(&self, shipment_id: &str, wanted: &[Wanted]) -> Result<Move, Error> {
        if self.shipments.len() >= SHIPMENTS {
            let message = format!("A reservation leaves in at most {SHIPMENTS} shipments.");
            return Err(Error::new(Reason::LimitExceeded, message).with("limit", "shipments"));
        }
        let asked = by_variant(wanted)?;
        if let Some(variant_id) = asked.keys().find(|id| !self.lines.iter().any(|line| line.variant_id == **id)) {
            return Err(invalid("lines", &format!("{variant_id} is no part of the reservation.")));
        }
        // What was shipped in part is owed in full: it expires no more.
        let mut after = Self { expire_time: None, ..self.clone() };
        let mut effects = Vec::new();
        for line in &mut after.lines {
            let left = line.left();
            let quantity = if asked.is_empty() { left } else { asked.get(&*line.variant_id).copied().unwrap_or(0) };
            if quantity > left {
                let message = format!("Only {left} pieces of {} are left to ship.", line.variant_id);
                let error = Error::new(Reason::QuantityLimit, message);
                return Err(error.with("variant", &line.variant_id).with("available", left.to_string()));
            }
            line.ship(quantity, &mut effects);
        }
        after.shipments.push(Shipment { id: shipment_id.to_owned(), wanted: wanted.to_vec() });
        if after.left() == 0 {
            after.state = State::Committed;
        }
        Ok(Move { after, effects, fact: Some(Fact::Committed) })
    }

    /// Gives back what was not shipped.
    fn end(&self, fact: Fact) -> Move {
        let state = match fact {
            _ if !self.shipments.is_empty() => State::Committed,
            Fact::Expired => State::Expired,
            Fact::Reserved | Fact::Committed | Fact::Released => State::Released,
        };
        let effects = self.set_aside().filter(|pieces| pieces.quantity > 0).map(Effect::GiveBack).collect();
        Move { after: Self { state, ..self.clone() }, effects, fact: Some(fact) }
    }

    fn expired(&self) -> Error {
        let message = "Nobody wanted the reserved pieces in time, so they were given back. Reserve again.";
        Error::new(Reason::ReservationExpired, message).with("reservation", &self.id)
    }

    fn not_held(&self) -> Error {
        let message = "The reservation has ended: nothing is set aside under it any more.";
        let error = Error::new(Reason::ReservationNotHeld, message).with("reservation", &self.id);
        error.with("state", self.state.name())
    }

    fn reused(&self, id: &str) -> Error {
        let message = format!("{id} was used for something else. Derive a new id for each new request.");
        Error::new(Reason::IdempotencyKeyReused, message).with("reservation", &self.id)
    }
}

/// Checks that there is one line per variant and that each asks for something.
///
/// # Errors
/// `INVALID_FIELD`.
pub fn by_variant(wanted: &[Wanted]) -> Result<BTreeMap<&str, i64>, Error> {
    let mut quantities = BTreeMap::new();
    for Wanted { variant_id, quantity } in wanted {
        if *quantity < 1 {
            return Err(invalid("lines", &format!("Ask for at least one piece of {variant_id}.")));
        }
        if quantities.insert(variant_id.as_str(), *quantity).is_some() {
            return Err(invalid("lines", &format!("{variant_id} is there twice. Send one line per variant.")));
        }
    }
    Ok(quantities)
}

/// Whether two lists ask for the same, in whatever order.
fn same(one: &[Wanted], other: &[Wanted]) -> bool {
    let sorted = |list: &[Wanted]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    sorted(one) == sorted(other)
}
