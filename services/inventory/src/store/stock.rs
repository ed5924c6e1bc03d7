//! Locations, items and movements.

use contracts::inventory::v1::stock_movement::Kind;
use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, placeholders};

use super::{ROWS, padded, parameters};
use crate::stock::{Item, Location, Movement, Shelf, overtaken};

/// The columns and the tables of a shelf.
pub const SHELVES: (&str, &str) = (
    "s.id, s.variant_id, s.location_id, s.on_hand, s.facts, s.version, s.create_time, s.update_time, s.reserved, \
     s.safety_stock, s.low_threshold, s.movements, l.rank, l.active",
    "stock_items s JOIN locations l ON l.id = s.location_id",
);

/// Which items a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this variant.
    pub variant_id: Option<String>,
    /// Of this location.
    pub location_id: Option<String>,
    /// With fewer pieces than there should be.
    pub low_only: bool,
}

/// An item, locked until the unit ends.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn lock(session: &mut Session, id: &str) -> Result<Option<Item>, Error> {
    const LOCK: &str =
        "SELECT id, variant_id, location_id, on_hand, facts, version, create_time, update_time, reserved,
            safety_stock, low_threshold, movements
        FROM stock_items WHERE id = $1";
    session.row_for_update(LOCK, &[id.into()]).await?.as_ref().map(item).transpose()
}

/// The items with these ids, as far as there are any.
pub async fn of_ids(session: &mut Session, ids: &[String]) -> Result<Vec<Shelf>, Error> {
    let ids = padded(ids.iter().map(String::as_str));
    let sql = format!("SELECT {} FROM {} WHERE s.id IN ({})", SHELVES.0, SHELVES.1, parameters(1, ids.len()));
    let binds: Vec<Bind> = ids.into_iter().map(Bind::from).collect();
    session.rows_dynamic(sql, &binds).await?.iter().map(shelf).collect()
}

/// Items after an id, in the order of ids.
pub async fn list(session: &mut Session, filter: &Filter, after: &str, limit: i64) -> Result<Vec<Item>, Error> {
    let mut sql = format!("SELECT {} FROM {} WHERE s.id > $1", SHELVES.0, SHELVES.1);
    let mut binds: Vec<Bind> = vec![after.into()];
    for (column, value) in [("variant_id", &filter.variant_id), ("location_id", &filter.location_id)] {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!(" AND s.{column} = ${}", binds.len()));
        }
    }
    if filter.low_only {
        sql.push_str(" AND s.low_threshold > 0 AND s.on_hand - s.reserved - s.safety_stock < s.low_threshold");
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY s.id LIMIT ${}", binds.len()));
    session.rows_dynamic(sql, &binds).await?.iter().map(item).collect()
}

/// How many pieces of variants can be reserved. A variant that is nowhere kept is left out.
pub async fn availability(session: &mut Session, variants: &[String]) -> Result<Vec<(String, i64)>, Error> {
    let variants = padded(variants.iter().map(String::as_str));
    let sql = format!(
        "SELECT s.variant_id, CAST(SUM(CASE WHEN l.active = 1 AND s.on_hand - s.reserved > s.safety_stock \
         THEN s.on_hand - s.reserved - s.safety_stock ELSE 0 END) AS BIGINT) \
         FROM {} WHERE s.variant_id IN ({}) GROUP BY s.variant_id ORDER BY s.variant_id",
        SHELVES.1,
        parameters(1, variants.len())
    );
    let binds: Vec<Bind> = variants.into_iter().map(Bind::from).collect();
    session.rows_dynamic(sql, &binds).await?.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// Writes items, new or changed once since they were read.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if others have changed one meanwhile.
pub async fn save(session: &mut Session, items: &[&Item]) -> Result<(), Error> {
    // In the order of ids, which is also the order of locks.
    for items in items.chunks(ROWS) {
        let sql = format!(
            "INSERT INTO stock_items (id, variant_id, location_id, on_hand, facts, version, create_time, update_time, \
             reserved, safety_stock, low_threshold, movements) VALUES {} \
             ON CONFLICT (id) DO UPDATE SET on_hand = excluded.on_hand, facts = excluded.facts, \
             version = excluded.version, update_time = excluded.update_time, reserved = excluded.reserved, \
             safety_stock = excluded.safety_stock, low_threshold = excluded.low_threshold, \
             movements = excluded.movements \
             WHERE stock_items.version = excluded.version - 1 RETURNING id",
            placeholders(items.len(), 12)
        );
        let mut binds: Vec<Bind> = Vec::with_capacity(items.len() * 12);
        for item in items {
            binds.extend([&item.id, &item.variant_id, &item.location_id].map(Bind::from));
            binds.extend([item.on_hand, item.facts, item.version].map(Bind::from));
            binds.extend([item.create_time, item.update_time].map(Bind::from));
            binds.extend([item.reserved, item.safety_stock, item.low_threshold, item.movements].map(Bind::from));
        }
        if session.rows_dynamic(sql, &binds).await?.len() < items.len() {
            return Err(overtaken());
        }
    }
    Ok(())
}

/// Writes movements.
pub async fn insert_movements(session: &mut Session, movements: &[Movement]) -> Result<(), Error> {
    for movements in movements.chunks(ROWS) {
        let sql = format!(
            "INSERT INTO stock_movements (stock_item_id, sequence, kind, quantity, on_hand, reference, create_time) \
             VALUES {}",
            placeholders(movements.len(), 7)
        );
        let mut binds: Vec<Bind> = Vec::with_capacity(movements.len() * 7);
        for Movement { item_id, sequence, kind, quantity, on_hand, reference, time } in movements {
            binds.extend([item_id.into(), (*sequence).into(), kind.as_str_name().into(), (*quantity).into()]);
            binds.extend([(*on_hand).into(), reference.into(), (*time).into()]);
        }
        session.rows_dynamic(sql, &binds).await?;
    }
    Ok(())
}

/// What came and went of an item before a movement, the latest first.
pub async fn movements(session: &mut Session, item_id: &str, before: i64, limit: i64) -> Result<Vec<Movement>, Error> {
    const PAGE: &str = "SELECT stock_item_id, sequence, kind, quantity, on_hand, reference, create_time
        FROM stock_movements WHERE stock_item_id = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3";

    let rows = session.rows(PAGE, &[item_id.into(), before.into(), limit.into()]).await?;
    rows.iter().map(movement).collect()
}

/// Every location, the lowest rank first.
pub async fn locations(session: &mut Session, limit: i64) -> Result<Vec<Location>, Error> {
    const ALL: &str = "SELECT id, name, rank, active, version, create_time FROM locations ORDER BY rank, id LIMIT $1";
    session.rows(ALL, &[limit.into()]).await?.iter().map(location).collect()
}

/// A location.
pub async fn location_of_id(session: &mut Session, id: &str) -> Result<Option<Location>, Error> {
    const FIND: &str = "SELECT id, name, rank, active, version, create_time FROM locations WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.as_ref().map(location).transpose()
}

/// The location of this name.
pub async fn location_of_name(session: &mut Session, name: &str) -> Result<Option<Location>, Error> {
    const FIND: &str = "SELECT id, name, rank, active, version, create_time FROM locations WHERE name = $1";
    session.row(FIND, &[name.into()]).await?.as_ref().map(location).transpose()
}

/// The active location with the lowest rank.
pub async fn first_location(session: &mut Session) -> Result<Option<Location>, Error> {
    const FIRST: &str = "SELECT id, name, rank, active, version, create_time FROM locations
        WHERE active = 1 ORDER BY rank, id LIMIT 1";
    session.row(FIRST, &[]).await?.as_ref().map(location).transpose()
}

/// Writes a location, new or changed once since it was read.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if others have changed it meanwhile, or have just taken its name.
pub async fn save_location(session: &mut Session, location: &Location) -> Result<(), Error> {
    const SAVE: &str = "INSERT INTO locations (id, name, rank, active, version, create_time)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, rank = excluded.rank, active = excluded.active,
            version = excluded.version
        WHERE locations.version = excluded.version - 1";

    let Location { id, name, rank, active, version, create_time } = location;
    let head = [id.into(), name.into(), (*rank).into()];
    let tail = [i64::from(*active).into(), (*version).into(), (*create_time).into()];
    match session.exec(SAVE, &[head, tail].concat()).await? {
        0 => Err(overtaken()),
        _ => Ok(()),
    }
}

/// Reads an item with its place.
pub fn shelf(row: &Row) -> Result<Shelf, Error> {
    Ok(Shelf { item: item(row)?, rank: row.int(12)?, active: row.int(13)? == 1 })
}

fn item(row: &Row) -> Result<Item, Error> {
    Ok(Item {
        id: row.text(0)?,
        variant_id: row.text(1)?,
        location_id: row.text(2)?,
        on_hand: row.int(3)?,
        facts: row.int(4)?,
        version: row.int(5)?,
        create_time: row.time(6)?,
        update_time: row.time(7)?,
        reserved: row.int(8)?,
        safety_stock: row.int(9)?,
        low_threshold: row.int(10)?,
        movements: row.int(11)?,
    })
}

fn movement(row: &Row) -> Result<Movement, Error> {
    let kind = row.text(2)?;
    let unknown = || Error::internal(format!("no movement is `{kind}`"));
    Ok(Movement {
        item_id: row.text(0)?,
        sequence: row.int(1)?,
        kind: Kind::from_str_name(&kind).ok_or_else(unknown)?,
        quantity: row.int(3)?,
        on_hand: row.int(4)?,
        reference: row.text(5)?,
        time: Timestamp::from_micros(row.int(6)?),
    })
}

fn location(row: &Row) -> Result<Location, Error> {
    Ok(Location {
        id: row.text(0)?,
        name: row.text(1)?,
        rank: row.int(2)?,
        active: row.int(3)? == 1,
        version: row.int(4)?,
        create_time: row.time(5)?,
    })
}
