//! A batch, without a database.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    reservation::{Command, Wanted},
    stock::{Item, Shelf},
    stockroom::Stockroom,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const VARIANTS: [&str; 3] = ["var_1", "var_2", "var_3"];

/// Six pieces of each variant, at two locations.
fn stockroom() -> Stockroom {
    let mut room = Stockroom::default();
    for variant in VARIANTS {
        for (rank, location) in (0..).zip(["loc_1", "loc_2"]) {
            let item = Item { on_hand: 3, version: 1, low_threshold: 2, ..Item::new(variant, location, NOW) };
            room.add_shelf(Shelf { item, rank, active: true });
        }
    }
    room
}

fn command() -> impl Strategy<Value = Command> {
    let wanted = || {
        prop::collection::btree_map(0..VARIANTS.len(), 1..5_i64, 0..3).prop_map(|lines| {
            let line =
                |(variant, quantity): (usize, i64)| Wanted { variant_id: VARIANTS[variant].to_owned(), quantity };
            lines.into_iter().map(line).collect::<Vec<_>>()
        })
    };
    let lifetime = |seconds| Duration::from_secs(seconds);
    let create = (wanted(), 1..100_u64).prop_map(move |(wanted, seconds)| Command::Create {
        reference: "ord_1".to_owned(),
        wanted,
        lifetime: lifetime(seconds),
    });
    let commit =
        (0..4, wanted()).prop_map(|(number, wanted)| Command::Commit { shipment_id: format!("shp_{number}"), wanted });
    prop_oneof![
        3 => create,
        1 => Just(Command::Pin),
        1 => (1..100_u64).prop_map(move |seconds| Command::Extend(lifetime(seconds))),
        2 => commit,
        1 => Just(Command::Release { reference: "ord_1".to_owned() }),
        1 => Just(Command::Expire),
    ]
}

proptest! {
    #[test]
    fn after_any_commands_what_is_reserved_is_what_reservations_hold(
        commands in prop::collection::vec((0..6_usize, command(), 0..30_u64), 1..60),
    ) {
        install();
        let mut room = stockroom();
        let mut now = NOW;
        for (number, command, pause) in commands {
            now = now + Duration::from_secs(pause);
            let before = counts(&room);
            let decided = room.decide(&format!("rsv_{number}"), &command, now);
            let told = room.take_told();
            if let Err(error) = decided {
                // A refusal changes nothing, but that what was due is given back.
                prop_assert!(told.iter().all(|told| told.event.name() == "expired"), "{} told {:?}", error, told);
                prop_assert!(!told.is_empty() || before == counts(&room));
            }
            let mut held: BTreeMap<String, i64> = BTreeMap::new();
            for reservation in room.changed_reservations() {
                for pieces in reservation.set_aside() {
                    *held.entry(pieces.item_id).or_default() += pieces.quantity;
                }
            }
            let moved = |id: &str| {
                let mine = room.movements().iter().filter(|movement| movement.item_id == id);
                mine.map(|movement| movement.quantity).sum::<i64>()
            };
            // The order of ids is the order of locks.
            prop_assert!(room.changed_items().is_sorted_by_key(|item| &item.id));
            prop_assert!(room.changed_reservations().is_sorted_by_key(|reservation| &reservation.id));
            for item in room.changed_items() {
                prop_assert!((0..=item.on_hand).contains(&item.reserved));
                prop_assert_eq!(item.reserved, held.remove(&item.id).unwrap_or(0));
                prop_assert_eq!(item.on_hand, 3 + moved(&item.id));
                prop_assert_eq!(item.version, 2);
            }
            prop_assert!(held.values().all(|quantity| *quantity == 0));
        }
    }
}

trait Named {
    fn name(&self) -> &'static str;
}

impl Named for api::inventory_event::Event {
    fn name(&self) -> &'static str {
        match self {
            Self::StockReservationExpired(_) => "expired",
            _ => "something else",
        }
    }
}

fn counts(room: &Stockroom) -> Vec<(String, i64, i64)> {
    room.changed_items().iter().map(|item| (item.id.clone(), item.on_hand, item.reserved)).collect()
}
