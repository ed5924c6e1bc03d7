//! The SQL of stock and reservations.

pub mod audit;
pub mod reservations;
pub mod room;
pub mod stock;

use contracts::inventory::v1::InventoryEvent;
use kit::Error;
use storage::{Fact, Unit};

use crate::stockroom::Told;

/// How many rows one statement writes or names, at the most. A row has at most 12 columns, and a statement of SQLite
/// at most 32,766 parameters.
const ROWS: usize = 1_000;

/// Publishes a fact.
///
/// # Errors
/// See [`Unit::fact`].
pub fn tell(unit: &mut Unit, told: Told) -> Result<(), Error> {
    let Told { aggregate, sequence, event } = told;
    let message = InventoryEvent { aggregate_id: aggregate.clone(), event: Some(event) };
    unit.fact(&Fact { aggregate: &aggregate, sequence, message: &message })
}

/// `$3, $4, $5`: parameters from a number on.
fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// The ids, the last of them repeated until there is a power of two of them: so the statements that name them have
/// few different texts, and stay prepared.
fn padded<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.into_iter().collect();
    if let Some(last) = ids.last().copied().filter(|_| ids.len() <= ROWS) {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}
