//! The rules of stock and reservations, without a database.

use proptest::prelude::*;

use super::*;
use crate::{
    reservation::{Command, Effect, Reservation, State, Wanted},
    stock::{Item, Pieces, Shelf, allocate},
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn shelf(location: &str, rank: i64, active: bool, on_hand: i64) -> Shelf {
    let item = Item { on_hand, ..Item::new("var_1", location, NOW) };
    Shelf { item, rank, active }
}

fn pieces(shelf: &Shelf, quantity: i64) -> Pieces {
    Pieces { item_id: shelf.item.id.clone(), quantity }
}

#[test]
fn pieces_are_taken_from_the_lowest_rank_first_and_never_from_an_inactive_location() {
    let near = shelf("near", 1, true, 2);
    let far = shelf("far", 2, true, 5);
    let closed = shelf("closed", 0, false, 100);
    let all = [&far, &closed, &near];
    assert_eq!(allocate(all, 2), Ok(vec![pieces(&near, 2)]));
    assert_eq!(allocate(all, 3), Ok(vec![pieces(&near, 2), pieces(&far, 1)]));
    assert_eq!(allocate(all, 7), Ok(vec![pieces(&near, 2), pieces(&far, 5)]));
    assert_eq!(allocate(all, 8), Err(7));
    assert_eq!(allocate([], 1), Err(0));
}

#[test]
fn what_is_reserved_or_kept_for_safety_cannot_be_reserved() {
    let mut item = Item { on_hand: 10, reserved: 3, safety_stock: 2, ..Item::new("var_1", "loc_1", NOW) };
    assert_eq!(item.available(), 5);
    assert_eq!(item.reserve(6).unwrap_err().metadata("available"), Some("5"));
    item.reserve(5).unwrap();
    assert_eq!((item.available(), item.reserved), (0, 8));
    item.safety_stock = 100;
    assert_eq!(item.available(), 0);
    assert!(item.give_back(9).is_err());
    assert!(item.ship(9, "", NOW).is_err());
    assert_eq!(item.adjust(Kind::Lost, 3, "", NOW).unwrap_err().reason(), "OUT_OF_STOCK");
    assert_eq!(item.adjust(Kind::Counted, 7, "", NOW).unwrap_err().reason(), "OUT_OF_STOCK");
    assert_eq!(item.adjust(Kind::Received, i64::MAX, "", NOW).unwrap_err().reason(), "AMOUNT_OUT_OF_RANGE");
    assert_eq!((item.on_hand, item.reserved, item.movements), (10, 8, 0));
    item.adjust(Kind::Lost, 2, "", NOW).unwrap();
    assert_eq!((item.on_hand, item.reserved, item.movements), (8, 8, 1));
}

proptest! {
    #[test]
    fn an_allocation_takes_what_is_asked_from_what_is_there_in_rank_order(
        places in prop::collection::vec((0..5_i64, any::<bool>(), 0..20_i64, 0..20_i64, 0..5_i64), 0..8),
        quantity in 1..60_i64,
    ) {
        let place = |(number, (rank, active, more, reserved, safety_stock)): (usize, (i64, bool, i64, i64, i64))| {
            let item = Item { reserved, safety_stock, on_hand: reserved + more, ..Item::new("var_1", "", NOW) };
            Shelf { item: Item { id: format!("stk_{number}"), ..item }, rank, active }
        };
        let shelves: Vec<Shelf> = places.into_iter().enumerate().map(place).collect();
        let open: i64 = shelves.iter().filter(|shelf| shelf.active).map(|shelf| shelf.item.available()).sum();
        match allocate(&shelves, quantity) {
            Err(available) => prop_assert!(available == open && open < quantity),
            Ok(taken) => {
                prop_assert_eq!(taken.iter().map(|pieces| pieces.quantity).sum::<i64>(), quantity);
                let of = |shelf: &Shelf| {
                    taken.iter().filter(|pieces| pieces.item_id == shelf.item.id).map(|pieces| pieces.quantity).sum()
                };
                let taken: Vec<(&Shelf, i64)> = shelves.iter().map(|shelf| (shelf, of(shelf))).collect();
                for (shelf, quantity) in &taken {
                    prop_assert!((0..=shelf.item.available()).contains(quantity));
                    prop_assert!(shelf.active || *quantity == 0);
                    // Whoever gives something leaves nothing at a lower rank.
                    let left = |(lower, taken): &(&Shelf, i64)| {
                        lower.active && lower.rank < shelf.rank && *taken < lower.item.available()
                    };
                    prop_assert!(*quantity == 0 || !taken.iter().any(left));
                }
            }
        }
    }

    #[test]
    fn whatever_is_asked_of_a_reservation_every_piece_is_held_shipped_or_given_back_once(
        commands in prop::collection::vec((0..10_usize, 0..40_u64), 0..30),
    ) {
        let [mut reservation, ..] = states();
        let mut now = NOW;
        let (mut held, mut ended) = (3, false);
        for (command, pause) in commands {
            now = now + Duration::from_secs(pause);
            let Ok(Some(moved)) = reservation.decide(&self::commands()[command], now) else { continue };
            prop_assert!(!ended, "{:?} was ended", reservation);
            let gone: i64 = moved.effects.iter().map(|effect| match effect {
                Effect::GiveBack(pieces) | Effect::Ship(pieces) => pieces.quantity,
            }).sum();
            held -= gone;
            reservation = moved.after;
            ended = reservation.state != State::Held;
            prop_assert_eq!(reservation.set_aside().map(|pieces| pieces.quantity).sum::<i64>(), held);
            prop_assert!(reservation.lines.iter().all(|line| (0..=line.quantity()).contains(&line.committed())));
            prop_assert_eq!(ended, held == 0);
        }
    }
}

/// Three pieces from two locations: held, due, pinned, shipped in part, shipped, shipped in part with the rest given
/// back, released, released before it was made, expired.
fn states() -> [Reservation; 9] {
    let found = vec![(
        "var_1".to_owned(),
        vec![Pieces { item_id: "stk_1".to_owned(), quantity: 2 }, Pieces { item_id: "stk_2".to_owned(), quantity: 1 }],
    )];
    let after = |state: &Reservation, command: &Command, now| state.decide(command, now).unwrap().unwrap().after;
    let held = Reservation::new("rsv_1", "ord_1", found, NOW + MINUTE, NOW);
    let due = Reservation { expire_time: Some(NOW), ..held.clone() };
    let pinned = after(&held, &Command::Pin, NOW);
    let part = after(&held, &ship("shp_1", 1), NOW);
    let shipped = after(&part, &ship("shp_2", 2), NOW);
    let release = Command::Release { reference: "ord_1".to_owned() };
    let rest = after(&part, &release, NOW);
    let released = after(&held, &release, NOW);
    let never_made = Reservation::never_made("rsv_1", "ord_1", NOW);
    let expired = after(&due, &Command::Expire, NOW);
    [held, due, pinned, part, shipped, rest, released, never_made, expired]
}

fn commands() -> [Command; 10] {
    let create = |quantity| Command::Create {
        reference: "ord_1".to_owned(),
        wanted: vec![Wanted { variant_id: "var_1".to_owned(), quantity }],
        lifetime: MINUTE,
    };
    let release = |reference: &str| Command::Release { reference: reference.to_owned() };
    let rest = Command::Commit { shipment_id: "shp_3".to_owned(), wanted: Vec::new() };
    [
        create(3),
        create(4),
        Command::Pin,
        Command::Extend(MINUTE * 2),
        ship("shp_1", 1),
        ship("shp_1", 2),
        rest,
        release("ord_1"),
        release("ord_2"),
        Command::Expire,
    ]
}

fn ship(shipment_id: &str, quantity: i64) -> Command {
    let wanted = vec![Wanted { variant_id: "var_1".to_owned(), quantity }];
    Command::Commit { shipment_id: shipment_id.to_owned(), wanted }
}

#[test]
fn every_command_in_every_state_is_a_move_a_repeat_or_a_refusal() {
    const OLD: &str = "as it stands";
    const USED: &str = "IDEMPOTENCY_KEY_REUSED";
    const LATE: &str = "RESERVATION_EXPIRED";
    const OVER: &str = "RESERVATION_NOT_HELD";
    // Create, create another, pin, extend, ship one, ship two instead, ship the rest, release, release for another, expire.
    let expected = [
        [OLD, USED, "HELD", "HELD", "HELD", "HELD", "COMMITTED", "RELEASED", USED, OLD],
        [OLD, USED, LATE, LATE, LATE, LATE, LATE, OLD, USED, "EXPIRED"],
        [OLD, USED, OLD, OLD, "HELD", "HELD", "COMMITTED", "RELEASED", USED, OLD],
        [OLD, USED, OLD, OLD, OLD, USED, "COMMITTED", "COMMITTED", USED, OLD],
        [OLD, USED, OLD, OVER, OLD, USED, OVER, OLD, USED, OLD],
        [OLD, USED, OLD, OVER, OLD, USED, OVER, OLD, USED, OLD],
        [OLD, USED, OVER, OVER, OVER, OVER, OVER, OLD, USED, OLD],
        [OVER, OVER, OVER, OVER, OVER, OVER, OVER, OLD, USED, OLD],
        [OLD, USED, LATE, LATE, LATE, LATE, LATE, OLD, USED, OLD],
    ];
    install();
    for (state, row) in states().iter().zip(expected) {
        for (command, expected) in commands().iter().zip(row) {
            let outcome = match state.decide(command, NOW) {
                Ok(Some(moved)) => moved.after.state.name().to_owned(),
                Ok(None) => OLD.to_owned(),
                Err(error) => error.reason().to_owned(),
            };
            assert_eq!(outcome, expected, "{command:?} to {state:?}");
        }
    }
}

#[test]
fn a_reservation_is_held_until_its_time_and_not_a_moment_longer() {
    install();
    let [held, ..] = states();
    let millisecond = Duration::from_millis(1);
    let end = NOW + MINUTE;
    for command in [Command::Pin, Command::Extend(MINUTE * 2), ship("shp_1", 1)] {
        assert!(held.decide(&command, end - millisecond).unwrap().is_some());
        for late in [end, end + millisecond] {
            assert_eq!(held.decide(&command, late).unwrap_err().reason(), "RESERVATION_EXPIRED");
        }
    }
    assert_eq!(held.decide(&Command::Expire, end - millisecond).unwrap(), None);
    assert_eq!(held.decide(&Command::Expire, end).unwrap().unwrap().after.state, State::Expired);
}

#[test]
fn a_reservation_is_never_held_for_less_than_before() {
    install();
    let [held, ..] = states();
    assert_eq!(held.decide(&Command::Extend(MINUTE / 2), NOW).unwrap(), None);
    let longer = held.decide(&Command::Extend(MINUTE * 2), NOW).unwrap().unwrap();
    assert_eq!(longer.after.expire_time, Some(NOW + MINUTE * 2));
}

#[test]
fn only_what_is_reserved_and_left_can_be_shipped() {
    install();
    let [held, _, _, part, ..] = states();
    let other = vec![Wanted { variant_id: "var_2".to_owned(), quantity: 1 }];
    let twice = vec![Wanted { variant_id: "var_1".to_owned(), quantity: 1 }; 2];
    for wanted in [other, twice] {
        let command = Command::Commit { shipment_id: "shp_9".to_owned(), wanted };
        assert_eq!(held.decide(&command, NOW).unwrap_err().reason(), "INVALID_FIELD");
    }
    let error = part.decide(&ship("shp_9", 3), NOW).unwrap_err();
    assert_eq!((error.reason(), error.metadata("available")), ("QUANTITY_LIMIT", Some("2")));
    assert_eq!(part.decide(&ship("shp_9", 0), NOW).unwrap_err().reason(), "INVALID_FIELD");
}

#[test]
fn a_reservation_leaves_in_a_limited_number_of_shipments() {
    install();
    let found = vec![("var_1".to_owned(), vec![Pieces { item_id: "stk_1".to_owned(), quantity: 2_000 }])];
    let mut reservation = Reservation::new("rsv_1", "ord_1", found, NOW + MINUTE, NOW);
    for number in 0..1_000 {
        reservation = reservation.decide(&ship(&format!("shp_{number}"), 1), NOW).unwrap().unwrap().after;
    }
    assert_eq!(reservation.decide(&ship("shp_more", 1), NOW).unwrap_err().reason(), "LIMIT_EXCEEDED");
}
