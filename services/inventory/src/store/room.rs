//! What a batch of commands is decided on, and what became of it. However many commands there are, one look finds what
//! they name, a second the items of reservations that end; then one statement each writes items, movements and
//! reservations.

use std::collections::BTreeSet;

use kit::{Error, Timestamp};
use storage::{Bind, Unit};

use super::{ROWS, padded, parameters, reservations, stock};
use crate::{reservation::Command, stockroom::Stockroom};

/// Loads what `commands` are decided on. With `locking`, the items stay as they are until the unit ends; without, a
/// change by others is found when the room is saved.
///
/// # Errors
/// See [`storage::Session::rows`]; so for every function here.
pub async fn load(unit: &mut Unit, commands: &[(&str, &Command)], locking: bool) -> Result<Stockroom, Error> {
    let room = look(unit, commands).await?;
    if !locking {
        return Ok(room);
    }
    for id in room.item_ids() {
        stock::lock(unit, id).await?;
    }
    look(unit, commands).await
}

/// Writes what has changed.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if others have changed the same meanwhile.
pub async fn save(unit: &mut Unit, room: &Stockroom) -> Result<(), Error> {
    stock::save(unit, &room.changed_items()).await?;
    stock::insert_movements(unit, room.movements()).await?;
    reservations::save(unit, &room.changed_reservations()).await
}

async fn look(unit: &mut Unit, commands: &[(&str, &Command)]) -> Result<Stockroom, Error> {
    let now = unit.now();
    let mut room = Stockroom::default();
    find(unit, commands, &mut room).await?;
    let missing: Vec<String> = missing(&room, commands, now).into_iter().collect();
    for ids in missing.chunks(ROWS) {
        stock::of_ids(unit, ids).await?.into_iter().for_each(|shelf| room.add_shelf(shelf));
    }
    Ok(room)
}

/// The reservations that commands name and the items of the variants that they ask for: one statement for both.
async fn find(unit: &mut Unit, commands: &[(&str, &Command)], room: &mut Stockroom) -> Result<(), Error> {
    let ids: BTreeSet<&str> = commands.iter().map(|(id, _)| *id).collect();
    let asked = commands.iter().filter_map(|(_, command)| match command {
        Command::Create { wanted, .. } => Some(wanted),
        _ => None,
    });
    let variants: BTreeSet<&str> = asked.flatten().map(|wanted| wanted.variant_id.as_str()).collect();
    let (ids, variants) = (padded(ids), padded(variants));
    let mut sql = format!(
        "SELECT id, reference, state, expire_time, facts, version, create_time, update_time, {0}, {0}, {0}, {0}, {0}, \
         {0}, content FROM reservations WHERE id IN ({1})",
        "CAST(NULL AS BIGINT)",
        parameters(1, ids.len())
    );
    if !variants.is_empty() {
        let variants = parameters(ids.len() + 1, variants.len());
        let shelves = stock::SHELVES;
        sql.push_str(&format!(
            " UNION ALL SELECT {}, CAST(NULL AS BYTEA) FROM {} WHERE s.variant_id IN ({variants})",
            shelves.0, shelves.1
        ));
    }
    let binds: Vec<Bind> = ids.into_iter().chain(variants).map(Bind::from).collect();
    for row in unit.rows_dynamic(sql, &binds).await? {
        match row.optional_bytes(14)? {
            Some(content) => room.add_reservation(reservations::read(&row, &content)?),
            None => room.add_shelf(stock::shelf(&row)?),
        }
    }
    Ok(())
}

fn missing(room: &Stockroom, commands: &[(&str, &Command)], now: Timestamp) -> BTreeSet<String> {
    commands.iter().flat_map(|(id, command)| room.missing(id, command, now)).collect()
}
