//! Stock and reservations as the contract writes them.

use contracts::inventory::v1::{self as api, inventory_event::Event};

use crate::{
    reservation::{Fact, Line, Reservation, State, Wanted},
    stock::{Item, Location, Movement},
};

/// A location as callers see it.
pub fn location(location: &Location) -> api::Location {
    api::Location {
        id: location.id.clone(),
        name: location.name.clone(),
        // Never more than 10,000.
        rank: i32::try_from(location.rank).unwrap_or(i32::MAX),
        active: location.active,
        etag: location.etag(),
        create_time: Some(location.create_time.to_proto()),
    }
}

/// An item as callers see it.
pub fn item(item: &Item) -> api::StockItem {
    api::StockItem {
        id: item.id.clone(),
        variant_id: item.variant_id.clone(),
        location_id: item.location_id.clone(),
        on_hand: item.on_hand,
        reserved: item.reserved,
        safety_stock: item.safety_stock,
        available: item.available(),
        low_threshold: item.low_threshold,
        etag: item.etag(),
        create_time: Some(item.create_time.to_proto()),
        update_time: Some(item.update_time.to_proto()),
    }
}

/// A movement as callers see it.
pub fn movement(movement: &Movement) -> api::StockMovement {
    api::StockMovement {
        stock_item_id: movement.item_id.clone(),
        sequence: movement.sequence,
        kind: movement.kind.into(),
        quantity: movement.quantity,
        on_hand: movement.on_hand,
        reference: movement.reference.clone(),
        create_time: Some(movement.time.to_proto()),
    }
}

/// A reservation as callers see it.
pub fn reservation(reservation: &Reservation) -> api::Reservation {
    let line = |line: &Line| api::ReservationLine {
        variant_id: line.variant_id.clone(),
        quantity: line.quantity(),
        committed: line.committed(),
    };
    let state = match reservation.state {
        State::Held => api::reservation::State::Held,
        State::Committed => api::reservation::State::Committed,
        State::Released => api::reservation::State::Released,
        State::Expired => api::reservation::State::Expired,
    };
    api::Reservation {
        id: reservation.id.clone(),
        reference: reservation.reference.clone(),
        state: state.into(),
        lines: reservation.lines.iter().map(line).collect(),
        expire_time: reservation.expire_time.map(|time| time.to_proto()),
        create_time: Some(reservation.create_time.to_proto()),
        update_time: Some(reservation.update_time.to_proto()),
    }
}

/// The state that a list is limited to.
pub fn wanted_state(state: api::reservation::State) -> Option<State> {
    match state {
        api::reservation::State::Unspecified => None,
        api::reservation::State::Held => Some(State::Held),
        api::reservation::State::Committed => Some(State::Committed),
        api::reservation::State::Released => Some(State::Released),
        api::reservation::State::Expired => Some(State::Expired),
    }
}

/// The pieces that a caller asks for.
pub fn wanted(lines: Vec<api::ReservationLine>) -> Vec<Wanted> {
    let wanted = |line: api::ReservationLine| Wanted { variant_id: line.variant_id, quantity: line.quantity };
    lines.into_iter().map(wanted).collect()
}

/// A fact about a reservation, which carries the reservation as it is now.
pub fn reservation_event(fact: Fact, about: &Reservation) -> Event {
    let reservation = Some(reservation(about));
    match fact {
        Fact::Reserved => Event::StockReserved(api::StockReserved { reservation }),
        Fact::Committed => Event::StockReservationCommitted(api::StockReservationCommitted { reservation }),
        Fact::Released => Event::StockReservationReleased(api::StockReservationReleased { reservation }),
        Fact::Expired => Event::StockReservationExpired(api::StockReservationExpired { reservation }),
    }
}

/// The fact that pieces came or went.
pub fn stock_updated(about: &Item, moved: &Movement) -> Event {
    Event::StockUpdated(api::StockUpdated { stock_item: Some(item(about)), movement: Some(movement(moved)) })
}

/// The fact that there are fewer pieces than there should be.
pub fn stock_low(about: &Item) -> Event {
    Event::StockLow(api::StockLow { stock_item: Some(item(about)) })
}
