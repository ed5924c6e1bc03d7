//! What people change: locations, and what is there. Each in one unit; the rows are locked first.

use contracts::{inventory::v1 as api, r#type::v1::Reason};
use kit::Error;
use storage::{Session, Unit};

use crate::{
    proto,
    stock::{Item, Location, Movement, invalid},
    stockroom::{self, Told},
    store,
};

/// How many locations there may be.
pub const LOCATIONS: i64 = 1_000;

/// Adds a location.
///
/// # Errors
/// `ALREADY_EXISTS_NAME`, `LIMIT_EXCEEDED`; and see [`storage::Db::write`], as for every function here.
pub async fn create_location(unit: &mut Unit, name: &str, rank: i32) -> Result<Location, Error> {
    let all = store::stock::locations(unit, LOCATIONS).await?;
    if all.iter().any(|location| location.name == name) {
        return Err(taken(name));
    }
    if all.len() >= usize::try_from(LOCATIONS).unwrap_or(usize::MAX) {
        let message = format!("There are {LOCATIONS} locations already. Rename one that is no longer used.");
        return Err(Error::new(Reason::LimitExceeded, message).with("limit", "locations"));
    }
    let location = Location {
        id: kit::id::new("loc", unit.now()),
        name: name.to_owned(),
        rank: rank.into(),
        active: true,
        version: 1,
        create_time: unit.now(),
    };
    store::stock::save_location(unit, &location).await?;
    Ok(location)
}

/// Changes a location.
///
/// # Errors
/// `ALREADY_EXISTS_NAME`, `ETAG_MISMATCH`, `RESOURCE_NOT_FOUND`.
pub async fn update_location(unit: &mut Unit, request: api::UpdateLocationRequest) -> Result<Location, Error> {
    let mut location = find_location(unit, &request.id).await?;
    location.expect(&request.etag)?;
    if let Some(name) = request.name {
        if store::stock::location_of_name(unit, &name).await?.is_some_and(|other| other.id != location.id) {
            return Err(taken(&name));
        }
        location.name = name;
    }
    location.rank = request.rank.map_or(location.rank, Into::into);
    location.active = request.active.unwrap_or(location.active);
    location.version += 1;
    store::stock::save_location(unit, &location).await?;
    Ok(location)
}

/// Notes that pieces came, went or were counted. Nothing happens, and nothing is given back, if the item would be new and
/// the variant is not `known`.
///
/// # Errors
/// See [`Item::adjust`]; `ETAG_MISMATCH`; `RESOURCE_NOT_FOUND` for the location.
pub async fn adjust(unit: &mut Unit, request: &api::AdjustStockRequest, known: bool) -> Result<Option<Item>, Error> {
    let location = match request.location_id.as_str() {
        "" => store::stock::first_location(unit).await?.ok_or_else(no_location)?,
        id => find_location(unit, id).await?,
    };
    let now = unit.now();
    let stored = store::stock::lock(unit, &Item::id_of(&request.variant_id, &location.id)).await?;
    if stored.is_some() && request.kind() == api::stock_movement::Kind::Counted && request.etag.is_empty() {
        let message = "Send the etag of the item that was counted: what came or went since would be lost.";
        return Err(invalid("etag", message));
    }
    let before = stored.unwrap_or_else(|| Item::new(&request.variant_id, &location.id, now));
    before.expect(&request.etag)?;
    let mut after = before.clone();
    let movement = after.adjust(request.kind(), request.quantity, &request.reference, now)?;
    if before.version == 0 && !known {
        return Ok(None);
    }
    after.touch(now);
    let told = follow(&before, &mut after, &movement);
    save(unit, &[&after], &[movement], told).await?;
    Ok(Some(after))
}

/// Sets how careful to be with an item.
///
/// # Errors
/// `ETAG_MISMATCH`, `RESOURCE_NOT_FOUND`.
pub async fn update_item(unit: &mut Unit, request: &api::UpdateStockItemRequest) -> Result<Item, Error> {
    let before = lock_item(unit, &request.id).await?;
    before.expect(&request.etag)?;
    let mut after = before.clone();
    after.safety_stock = request.safety_stock.unwrap_or(before.safety_stock);
    after.low_threshold = request.low_threshold.unwrap_or(before.low_threshold);
    after.touch(unit.now());
    let told = stockroom::low(&before, &mut after).into_iter().collect();
    save(unit, &[&after], &[], told).await?;
    Ok(after)
}

/// Moves pieces from one location to another.
///
/// # Errors
/// See [`Item::transfer`]; `RESOURCE_NOT_FOUND` for the second location; `INVALID_FIELD` if it is the first.
pub async fn transfer(unit: &mut Unit, request: &api::TransferStockRequest) -> Result<[Item; 2], Error> {
    let api::TransferStockRequest { variant_id, from_location_id, to_location_id, quantity, .. } = request;
    if from_location_id == to_location_id {
        return Err(invalid("to_location_id", "Name another location than the one that the pieces are at."));
    }
    let to_location = find_location(unit, to_location_id).await?;
    let now = unit.now();
    let [from_id, to_id] = [from_location_id, to_location_id].map(|location| Item::id_of(variant_id, location));
    // In the order of ids.
    let (from, to) = if from_id < to_id {
        let from = store::stock::lock(unit, &from_id).await?;
        (from, store::stock::lock(unit, &to_id).await?)
    } else {
        let to = store::stock::lock(unit, &to_id).await?;
        (store::stock::lock(unit, &from_id).await?, to)
    };
    let from = from.unwrap_or_else(|| Item::new(variant_id, from_location_id, now));
    let to = to.unwrap_or_else(|| Item::new(variant_id, &to_location.id, now));
    let (mut from_after, mut to_after) = (from.clone(), to.clone());
    let movements = from_after.transfer(&mut to_after, *quantity, now)?;
    from_after.touch(now);
    to_after.touch(now);
    let mut told = follow(&from, &mut from_after, &movements[0]);
    told.extend(follow(&to, &mut to_after, &movements[1]));
    let mut items = [&from_after, &to_after];
    items.sort_by_key(|item| &item.id);
    save(unit, &items, &movements, told).await?;
    Ok([from_after, to_after])
}

/// The facts of a movement: that it happened, and perhaps that there are too few pieces now.
pub fn follow(before: &Item, after: &mut Item, movement: &Movement) -> Vec<Told> {
    after.facts += 1;
    let event = proto::stock_updated(after, movement);
    let updated = Told { aggregate: after.id.clone(), sequence: after.facts, event };
    std::iter::once(updated).chain(stockroom::low(before, after)).collect()
}

/// Writes items with what moved, and tells it.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if others have changed an item meanwhile.
pub async fn save(unit: &mut Unit, items: &[&Item], movements: &[Movement], told: Vec<Told>) -> Result<(), Error> {
    store::stock::save(unit, items).await?;
    store::stock::insert_movements(unit, movements).await?;
    told.into_iter().try_for_each(|told| store::tell(unit, told))
}

fn no_location() -> Error {
    let message = "There is no active location. Make one first: `POST /api/v1/locations`.";
    Error::new(Reason::ResourceNotFound, message).with("resource", "location")
}

/// What there is none of.
pub fn not_found(what: &str, id: &str) -> Error {
    Error::new(Reason::ResourceNotFound, format!("There is no {what} {id}.")).with("resource", id)
}

async fn find_location(session: &mut Session, id: &str) -> Result<Location, Error> {
    store::stock::location_of_id(session, id).await?.ok_or_else(|| not_found("location", id))
}

async fn lock_item(session: &mut Session, id: &str) -> Result<Item, Error> {
    store::stock::lock(session, id).await?.ok_or_else(|| not_found("stock item", id))
}

fn taken(name: &str) -> Error {
    let message = format!("There is a location called {name}. Choose another name.");
    Error::new(Reason::AlreadyExistsName, message).with("name", name)
}
