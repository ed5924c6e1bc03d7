//! A first stock for the demo: only what is missing, so that it may be asked for at every start.

use kit::{Error, Timestamp};
use storage::{Session, Unit};

use crate::{
    Service, changes,
    stock::{Item, Location},
    store,
};
use contracts::inventory::v1::stock_movement::Kind;

/// The locations of the demo, by rank.
const LOCATIONS: [&str; 2] = ["Rotterdam", "Memphis"];
/// How many items one unit adds.
const ITEMS: usize = 200;

/// How many pieces of a variant the demo begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedStock {
    /// `var_…`.
    pub variant_id: String,
    /// How many pieces, over all locations.
    pub quantity: i64,
    /// Below how many pieces a location is low.
    pub low_threshold: i64,
}

impl Service {
    /// Adds the locations `Rotterdam` and `Memphis`, and a starting stock for each of `variants` that has none there: the
    /// larger half in Rotterdam.
    ///
    /// # Errors
    /// See [`storage::Db::write`].
    pub async fn seed(&self, variants: &[SeedStock]) -> Result<(), Error> {
        storage::again(|| self.add_missing(variants)).await
    }

    async fn add_missing(&self, variants: &[SeedStock]) -> Result<(), Error> {
        let locations = self.0.db.write(async |unit: &mut Unit| seed_locations(unit).await).await?;
        for variants in variants.chunks(ITEMS / LOCATIONS.len()) {
            self.0.db.write(async |unit: &mut Unit| seed_stock(unit, &locations, variants).await).await?;
        }
        Ok(())
    }
}

async fn seed_locations(unit: &mut Unit) -> Result<Vec<Location>, Error> {
    let mut locations = Vec::new();
    for (rank, name) in (0..).zip(LOCATIONS) {
        locations.push(seed_location(unit, name, rank).await?);
    }
    Ok(locations)
}

/// The location as it was seeded once, whatever it is called today; or the one that has its name.
async fn seed_location(unit: &mut Unit, name: &str, rank: i64) -> Result<Location, Error> {
    let id = kit::id::derive("loc", "seed", name);
    if let Some(location) = find(unit, &id, name).await? {
        return Ok(location);
    }
    let location = Location { id, name: name.to_owned(), rank, active: true, version: 1, create_time: unit.now() };
    store::stock::save_location(unit, &location).await?;
    Ok(location)
}

async fn find(session: &mut Session, id: &str, name: &str) -> Result<Option<Location>, Error> {
    match store::stock::location_of_id(session, id).await? {
        Some(location) => Ok(Some(location)),
        None => store::stock::location_of_name(session, name).await,
    }
}

async fn seed_stock(unit: &mut Unit, locations: &[Location], variants: &[SeedStock]) -> Result<(), Error> {
    let now = unit.now();
    let shares = variants.iter().flat_map(|seed| {
        let [main, other] = [seed.quantity - seed.quantity / 2, seed.quantity / 2];
        locations.iter().zip([main, other]).map(move |(location, share)| (seed, location, share))
    });
    let wanted: Vec<(&SeedStock, Item, i64)> = shares
        .filter(|(.., share)| *share > 0)
        .map(|(seed, location, share)| (seed, Item::new(&seed.variant_id, &location.id, now), share))
        .collect();
    let ids: Vec<String> = wanted.iter().map(|(_, item, _)| item.id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let there = store::stock::of_ids(unit, &ids).await?;
    let (mut items, mut movements, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, item, share) in wanted {
        if !there.iter().any(|shelf| shelf.item.id == item.id) {
            let (item, movement) = first_delivery(seed, &item, share, now, &mut told)?;
            items.push(item);
            movements.push(movement);
        }
    }
    items.sort_by(|one: &Item, other| one.id.cmp(&other.id));
    changes::save(unit, &items.iter().collect::<Vec<_>>(), &movements, told).await
}

fn first_delivery(
    seed: &SeedStock,
    item: &Item,
    share: i64,
    now: Timestamp,
    told: &mut Vec<crate::stockroom::Told>,
) -> Result<(Item, crate::stock::Movement), Error> {
    let mut after = item.clone();
    let movement = after.adjust(Kind::Received, share, "first stock", now)?;
    after.low_threshold = seed.low_threshold;
    after.touch(now);
    told.extend(changes::follow(item, &mut after, &movement));
    Ok((after, movement))
}
