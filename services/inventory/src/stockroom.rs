//! The rows that a batch of commands is decided on, one after the other. No await, no clock, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use contracts::{inventory::v1::inventory_event::Event, r#type::v1::Reason};
use kit::{Error, Timestamp};

use crate::{
    proto,
    reservation::{self, Command, Effect, Fact, Move, Reservation, Wanted},
    stock::{Item, Movement, Shelf, allocate, invalid, out_of_stock, overtaken},
};

/// A fact to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What it is about: an item or a reservation.
    pub aggregate: String,
    /// Its number among the facts about that, from 1.
    pub sequence: i64,
    /// What became true.
    pub event: Event,
}

/// Items and reservations, and what became of them.
#[derive(Default)]
pub struct Stockroom {
    shelves: BTreeMap<String, Shelf>,
    /// The items of each variant.
    variants: BTreeMap<String, Vec<String>>,
    reservations: BTreeMap<String, Reservation>,
    changed_items: BTreeSet<String>,
    changed_reservations: BTreeSet<String>,
    movements: Vec<Movement>,
    told: Vec<Told>,
}

impl Stockroom {
    /// Adds an item as it is stored.
    pub fn add_shelf(&mut self, shelf: Shelf) {
        let Item { id, variant_id, .. } = &shelf.item;
        self.variants.entry(variant_id.clone()).or_default().push(id.clone());
        self.shelves.insert(id.clone(), shelf);
    }

    /// Adds a reservation as it is stored.
    pub fn add_reservation(&mut self, reservation: Reservation) {
        self.reservations.insert(reservation.id.clone(), reservation);
    }

    /// The ids of all items.
    pub fn item_ids(&self) -> impl Iterator<Item = &String> {
        self.shelves.keys()
    }

    /// The items, not here yet, that `command` to the reservation `id` may change.
    pub fn missing(&self, id: &str, command: &Command, now: Timestamp) -> Vec<String> {
        let Some(reservation) = self.reservations.get(id) else { return Vec::new() };
        let moves = matches!(command, Command::Commit { .. } | Command::Release { .. } | Command::Expire);
        let wanted = reservation.set_aside().filter(|_| moves || reservation.is_due(now));
        wanted.map(|pieces| pieces.item_id).filter(|item_id| !self.shelves.contains_key(item_id)).collect()
    }

    /// Decides one command. A refusal leaves everything as it was, but that a reservation whose time is over ends.
    ///
    /// # Errors
    /// See [`Reservation::decide`]; `OUT_OF_STOCK` for the first line that cannot be had; `RESOURCE_NOT_FOUND`;
    /// `SERIALIZATION_FAILURE` if the items are not those that the reservation holds.
    pub fn decide(&mut self, id: &str, command: &Command, now: Timestamp) -> Result<Reservation, Error> {
        let Some(found) = self.reservations.get(id) else { return self.begin(id, command, now) };
        let expired = if found.is_due(now) { found.decide(&Command::Expire, now)? } else { None };
        if let Some(expired) = expired {
            self.apply(expired, now)?;
        }
        let found = self.reservation(id)?;
        match found.decide(command, now)? {
            Some(moved) => self.apply(moved, now),
            None => Ok(found.clone()),
        }
    }

    /// What became true since this was asked last.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The items that have changed, by id.
    pub fn changed_items(&self) -> Vec<&Item> {
        let changed = self.changed_items.iter().filter_map(|id| self.shelves.get(id));
        changed.map(|shelf| &shelf.item).collect()
    }

    /// The reservations that have changed, by id.
    pub fn changed_reservations(&self) -> Vec<&Reservation> {
        self.changed_reservations.iter().filter_map(|id| self.reservations.get(id)).collect()
    }

    /// What came and went.
    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    fn reservation(&self, id: &str) -> Result<&Reservation, Error> {
        self.reservations.get(id).ok_or_else(|| {
            Error::new(Reason::ResourceNotFound, format!("There is no reservation {id}.")).with("resource", id)
        })
    }

    /// The first command to a reservation.
    fn begin(&mut self, id: &str, command: &Command, now: Timestamp) -> Result<Reservation, Error> {
        match command {
            Command::Create { reference, wanted, lifetime } => self.create(id, reference, wanted, *lifetime, now),
            Command::Release { reference } => {
                Ok(self.put_reservation(Reservation::never_made(id, reference, now), None, now))
            }
            Command::Pin | Command::Extend(_) | Command::Commit { .. } | Command::Expire => {
                self.reservation(id).cloned()
            }
        }
    }

    fn create(
        &mut self,
        id: &str,
        reference: &str,
        wanted: &[Wanted],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        if wanted.is_empty() {
            return Err(invalid("lines", "Ask for at least one piece."));
        }
        // A variant is in one line only, so lines do not compete for pieces.
        reservation::by_variant(wanted)?;
        let mut found = Vec::with_capacity(wanted.len());
        let mut items = Vec::with_capacity(wanted.len());
        for Wanted { variant_id, quantity } in wanted {
            let ids = self.variants.get(variant_id).map(Vec::as_slice).unwrap_or_default();
            let shelves = ids.iter().filter_map(|id| self.shelves.get(id));
            let taken = allocate(shelves, *quantity).map_err(|available| out_of_stock(variant_id, available))?;
            for pieces in &taken {
                let mut item = self.item(&pieces.item_id)?.clone();
                item.reserve(pieces.quantity)?;
                items.push(item);
            }
            found.push((variant_id.clone(), taken));
        }
        items.into_iter().for_each(|item| self.put_item(item, now));
        let made = Reservation::new(id, reference, found, now + lifetime, now);
        Ok(self.put_reservation(made, Some(Fact::Reserved), now))
    }

    /// Carries a move out, whole or not at all.
    fn apply(&mut self, moved: Move, now: Timestamp) -> Result<Reservation, Error> {
        let Move { after, effects, fact } = moved;
        let mut items = Vec::with_capacity(effects.len());
        let mut movements = Vec::new();
        for effect in effects {
            let (Effect::GiveBack(pieces) | Effect::Ship(pieces)) = &effect;
            let mut item = self.item(&pieces.item_id)?.clone();
            match effect {
                Effect::GiveBack(pieces) => item.give_back(pieces.quantity)?,
                Effect::Ship(pieces) => movements.push(item.ship(pieces.quantity, &after.id, now)?),
            }
            items.push(item);
        }
        items.into_iter().for_each(|item| self.put_item(item, now));
        self.movements.append(&mut movements);
        Ok(self.put_reservation(after, fact, now))
    }

    fn item(&self, id: &str) -> Result<&Item, Error> {
        // What is not here is not what the reservation held when the rows were looked for.
        self.shelves.get(id).map(|shelf| &shelf.item).ok_or_else(overtaken)
    }

    fn put_item(&mut self, mut item: Item, now: Timestamp) {
        let Some(shelf) = self.shelves.get_mut(&item.id) else { return };
        if self.changed_items.insert(item.id.clone()) {
            item.touch(now);
        }
        self.told.extend(low(&shelf.item, &mut item));
        shelf.item = item;
    }

    fn put_reservation(&mut self, mut after: Reservation, fact: Option<Fact>, now: Timestamp) -> Reservation {
        if self.changed_reservations.insert(after.id.clone()) {
            after.version += 1;
        }
        after.update_time = now;
        if let Some(fact) = fact {
            after.facts += 1;
            let event = proto::reservation_event(fact, &after);
            self.told.push(Told { aggregate: after.id.clone(), sequence: after.facts, event });
        }
        self.reservations.insert(after.id.clone(), after.clone());
        after
    }
}

/// The fact that there are fewer pieces than there should be: told when that begins.
pub fn low(before: &Item, after: &mut Item) -> Option<Told> {
    if before.is_low() || !after.is_low() {
        return None;
    }
    after.facts += 1;
    let event = proto::stock_low(after);
    Some(Told { aggregate: after.id.clone(), sequence: after.facts, event })
}
