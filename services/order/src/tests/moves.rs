//! Every command in every state of a purchase.

use api::order_change::Cause;

use super::*;
use crate::{
    order::{Command, Fact, Kind, Order, Rejection, State},
    origin,
    purchase::Purchase,
    saga::State as Saga,
};

const NOW: Timestamp = Timestamp::from_seconds(100);
const LATER: Timestamp = Timestamp::from_seconds(200);

fn rejection() -> Rejection {
    Rejection { reason: "OUT_OF_STOCK".to_owned(), message: "No.".to_owned() }
}

pub fn ship(shipment_id: &str, quantity: i64) -> Command {
    Command::Ship { shipment_id: shipment_id.to_owned(), lines: vec![pieces("mug", quantity)], deadline: LATER }
}

fn shipped() -> Command {
    Command::Shipped { amount: amount("10.00", "USD").unwrap(), close_time: LATER }
}

fn unship(why: Option<Rejection>) -> Command {
    Command::Unship { lines: vec![pieces("mug", 1)], why, deadline: LATER }
}

fn receive() -> Command {
    Command::Receive { return_id: "rtn_1".to_owned(), lines: vec![pieces("mug", 1)], deadline: LATER }
}

fn refunded() -> Command {
    Command::Refunded(amount("1.00", "USD").unwrap())
}

pub fn confirm() -> Command {
    Command::Confirm { digital: None }
}

/// What confirms a purchase with something to download.
fn confirm_and_send() -> Command {
    Command::Confirm { digital: Some(("shp_0".to_owned(), LATER)) }
}

/// What undoes what was not shipped, since its money is gone.
fn money_gone() -> Command {
    Command::MoneyGone(Rejection { reason: "HOLD_EXPIRED".to_owned(), message: "No.".to_owned() }, LATER)
}

fn undone() -> Command {
    Command::Undone { close_time: LATER }
}

fn act() -> Command {
    Command::RequireAction { action_url: "https://bank.test".to_owned(), deadline: LATER }
}

/// Every command, by name, and what it is in the history.
pub fn commands() -> Vec<(&'static str, Command, Cause)> {
    vec![
        ("fulfil", Command::Fulfil { transaction_id: "txn_1".to_owned() }, Cause::TradeExecuted),
        ("reject", Command::Reject(rejection()), Cause::Refused),
        ("act", act(), Cause::PaymentActionRequired),
        ("confirm", confirm(), Cause::Confirmed),
        ("confirm and send", confirm_and_send(), Cause::Confirmed),
        ("give up", Command::GiveUp(rejection(), LATER), Cause::Refused),
        ("cancel", Command::Cancel(LATER), Cause::CancelRequested),
        ("lose the money", money_gone(), Cause::MoneyGone),
        ("undone", undone(), Cause::Undone),
        ("ship", ship("shp_2", 1), Cause::ShipmentPacked),
        ("shipped", shipped(), Cause::Shipped),
        ("unship", unship(Some(rejection())), Cause::ShipmentCancelled),
        ("unship as was said", unship(None), Cause::ShipmentCancelled),
        ("cancel the shipment", Command::CancelShipment { deadline: LATER }, Cause::ShipmentCancelRequested),
        ("receive", receive(), Cause::ReturnReceived),
        ("refunded", refunded(), Cause::Refunded),
        (GIVEN, given(), Cause::RefundedBySupport),
        ("complete", Command::Complete, Cause::ReturnTimeOver),
    ]
}

/// What may happen to an order wherever it stands.
const GIVEN: &str = "refunded by support";

fn given() -> Command {
    Command::RefundedBySupport(amount("0.50", "USD").unwrap())
}

/// An order of three mugs after commands.
pub fn after(commands: &[Command]) -> Order {
    after_of(MUGS, commands)
}

/// An order of goods after commands.
fn after_of(goods: &[Good], commands: &[Command]) -> Order {
    let purchase = Purchase::of(basket(goods), Some(address()), String::new()).unwrap().named("ord_1").unwrap();
    let (id, owner) = ("ord_1".to_owned(), "usr_1".to_owned());
    let (mut order, _) = Order::place(id, owner, Kind::Purchase(purchase), None, Some(LATER), NOW);
    for command in commands {
        order = order.decide(command.clone(), NOW).unwrap().0;
    }
    order
}

/// What an order does whose goods are leaving.
const SHIPPING: &[&str] = &["shipped", "unship", "unship as was said", "cancel the shipment"];

/// Where an order can stand, how it comes there, and what it does then: everything else is refused.
fn stands() -> Vec<(&'static str, Order, &'static [&'static str])> {
    let give_up = || Command::GiveUp(rejection(), LATER);
    let cancel = || Command::Cancel(LATER);
    vec![
        ("pending", after(&[]), &["act", "confirm", "give up", "cancel"]),
        ("pending, with an action", after(&[act()]), &["act", "confirm", "give up", "cancel"]),
        ("pending, being undone", after(&[give_up()]), &["undone"]),
        (
            "pending, with a download",
            after_of(MUGS_AND_BOOK, &[]),
            &["act", "confirm", "confirm and send", "give up", "cancel"],
        ),
        ("rejected", after(&[give_up(), undone()]), &[]),
        ("cancelling", after(&[cancel()]), &["undone"]),
        ("cancelled", after(&[cancel(), undone()]), &[]),
        ("cancelling without money", after(&[confirm(), money_gone()]), &["undone"]),
        ("cancelled without money", after(&[confirm(), money_gone(), undone()]), &[]),
        ("confirmed", after(&[confirm()]), &["cancel", "lose the money", "ship"]),
        ("confirmed, sending", after_of(MUGS_AND_BOOK, &[confirm_and_send()]), SHIPPING),
        ("confirmed, shipping", after(&[confirm(), ship("shp_1", 1)]), SHIPPING),
        (
            "partly shipped",
            after(&[confirm(), ship("shp_1", 1), shipped()]),
            &["cancel", "lose the money", "ship", "receive"],
        ),
        ("partly shipped, shipping", after(&[confirm(), ship("shp_1", 1), shipped(), ship("shp_3", 2)]), SHIPPING),
        ("partly shipped, refunding", after(&[confirm(), ship("shp_1", 1), shipped(), receive()]), &["refunded"]),
        ("partly shipped, being undone", after(&[confirm(), ship("shp_1", 1), shipped(), cancel()]), &["undone"]),
        (
            "partly shipped, being undone without money",
            after(&[confirm(), ship("shp_1", 1), shipped(), money_gone()]),
            &["undone"],
        ),
        (
            "fulfilled in part, without money",
            after(&[confirm(), ship("shp_1", 1), shipped(), money_gone(), undone()]),
            &["receive", "complete"],
        ),
        ("fulfilled", after(&[confirm(), ship("shp_1", 3), shipped()]), &["receive", "complete"]),
        ("fulfilled, refunding", after(&[confirm(), ship("shp_1", 3), shipped(), receive()]), &["refunded"]),
        ("completed", after(&[confirm(), ship("shp_1", 3), shipped(), Command::Complete]), &["receive"]),
    ]
}

#[test]
fn every_command_in_every_state_is_a_move_or_a_refusal() {
    install();
    for (name, order, moves) in stands() {
        for (what, command, _) in commands() {
            let decided = order.decide(command, LATER);
            assert_eq!(decided.is_ok(), what == GIVEN || moves.contains(&what), "{what} when {name}: {decided:?}");
            match decided {
                Ok((after, facts)) => {
                    let told = i64::try_from(facts.len()).unwrap();
                    assert_eq!((after.sequence, after.facts), (order.sequence + 1, order.facts + told));
                    assert_eq!((after.update_time, &after.id), (LATER, &order.id));
                }
                Err(error) => {
                    let busy = !order.saga.is_idle() && error.reason() == "LOCK_CONFLICT";
                    let expected = if what == "cancel" { "ORDER_NOT_CANCELLABLE" } else { "INVALID_STATE_TRANSITION" };
                    assert!(busy || error.reason() == expected, "{what} when {name}: {error}");
                }
            }
        }
    }
}

#[test]
fn each_move_leads_where_it_should_and_tells_so() {
    install();
    let give_up = Command::GiveUp(rejection(), LATER);
    let (all, one) = (ship("shp_1", 3), ship("shp_1", 1));
    let cancel = Command::Cancel(LATER);
    let table: Vec<(Vec<Command>, State, Saga, &[Fact])> = vec![
        (vec![act()], State::Pending, Saga::Running, &[Fact::Updated]),
        (vec![confirm()], State::Confirmed, Saga::Succeeded, &[Fact::Confirmed]),
        (vec![give_up.clone()], State::Pending, Saga::Compensating, &[]),
        (vec![give_up, undone()], State::Rejected, Saga::Compensated, &[Fact::Rejected]),
        (vec![cancel.clone()], State::Cancelling, Saga::Compensating, &[]),
        (vec![cancel.clone(), undone()], State::Cancelled, Saga::Compensated, &[Fact::Cancelled]),
        (vec![confirm(), cancel.clone()], State::Cancelling, Saga::Compensating, &[]),
        (vec![confirm(), money_gone()], State::Cancelling, Saga::Compensating, &[]),
        (vec![confirm(), money_gone(), undone()], State::Cancelled, Saga::Compensated, &[Fact::Cancelled]),
        (
            vec![confirm(), one.clone(), shipped(), money_gone()],
            State::PartiallyFulfilled,
            Saga::Compensating,
            &[Fact::Updated],
        ),
        (vec![confirm(), one.clone()], State::Confirmed, Saga::Running, &[]),
        (
            vec![confirm(), one.clone(), shipped()],
            State::PartiallyFulfilled,
            Saga::Succeeded,
            &[Fact::PartiallyFulfilled],
        ),
        (vec![confirm(), all.clone(), shipped()], State::Fulfilled, Saga::Succeeded, &[Fact::Fulfilled]),
        (
            vec![confirm(), one.clone(), shipped(), cancel.clone()],
            State::PartiallyFulfilled,
            Saga::Compensating,
            &[Fact::Updated],
        ),
        (
            vec![confirm(), one.clone(), shipped(), cancel, undone()],
            State::Fulfilled,
            Saga::Succeeded,
            &[Fact::Fulfilled],
        ),
        (vec![confirm(), one.clone(), Command::CancelShipment { deadline: NOW }], State::Confirmed, Saga::Running, &[]),
        (vec![confirm(), one.clone(), unship(None)], State::Cancelling, Saga::Compensating, &[]),
        (
            vec![confirm(), one.clone(), shipped(), ship("shp_2", 1), unship(None)],
            State::PartiallyFulfilled,
            Saga::Compensating,
            &[Fact::Updated],
        ),
        (vec![confirm(), all.clone(), shipped(), receive()], State::Fulfilled, Saga::Running, &[]),
        (
            vec![confirm(), all.clone(), shipped(), receive(), refunded()],
            State::Fulfilled,
            Saga::Succeeded,
            &[Fact::Updated],
        ),
        (vec![confirm(), all.clone(), given()], State::Confirmed, Saga::Running, &[Fact::Updated]),
        (vec![confirm(), all, shipped(), Command::Complete], State::Completed, Saga::Succeeded, &[Fact::Completed]),
    ];
    for (mut commands, state, saga, facts) in table {
        let last = commands.pop().unwrap();
        let (order, told) = after(&commands).decide(last.clone(), LATER).unwrap();
        assert_eq!((order.state, order.saga.state, told), (state, saga, facts), "{commands:?} {last:?}");
        assert_eq!(order.close_time.is_some(), state == State::Fulfilled);
    }
}

#[test]
fn each_command_has_its_cause_in_the_history_and_each_cause_a_command() {
    let mut caused = vec![Cause::Unspecified, Cause::Placed];
    for (what, command, cause) in commands() {
        assert_eq!(origin::cause(&command), cause, "{what}");
        caused.push(cause);
    }
    for cause in (0..).map_while(|number| Cause::try_from(number).ok()) {
        assert!(caused.contains(&cause), "{cause:?}");
    }
}

#[test]
fn an_order_says_why_it_is_undone_unless_somebody_asked_for_that() {
    install();
    let give_up = Command::GiveUp(rejection(), LATER);
    let (cancel, one) = (Command::Cancel(LATER), ship("shp_1", 1));
    let table: Vec<(Vec<Command>, Option<&str>)> = vec![
        (vec![act(), confirm(), one.clone(), shipped()], None),
        (vec![give_up.clone()], Some("OUT_OF_STOCK")),
        (vec![give_up, undone()], Some("OUT_OF_STOCK")),
        (vec![confirm(), money_gone()], Some("HOLD_EXPIRED")),
        (vec![confirm(), money_gone(), undone()], Some("HOLD_EXPIRED")),
        (vec![confirm(), one.clone(), shipped(), money_gone()], Some("HOLD_EXPIRED")),
        (vec![confirm(), one.clone(), shipped(), money_gone(), undone()], Some("HOLD_EXPIRED")),
        (vec![confirm(), one.clone(), unship(Some(rejection())), undone()], Some("OUT_OF_STOCK")),
        (vec![confirm(), one.clone(), unship(None), undone()], None),
        (vec![cancel.clone(), undone()], None),
        (vec![confirm(), one, shipped(), cancel, undone()], None),
    ];
    for (commands, reason) in table {
        let rejection = after(&commands).rejection;
        assert_eq!(rejection.as_ref().map(|why| why.reason.as_str()), reason, "{commands:?}");
    }
}

#[test]
fn a_download_is_on_its_way_as_soon_as_it_is_confirmed_and_the_rest_stays() {
    install();
    let sending = after_of(MUGS_AND_BOOK, &[confirm_and_send()]);
    assert_eq!((sending.state, sending.saga.state), (State::Confirmed, Saga::Running));
    assert_eq!(sending.saga.task.as_deref(), Some("shp_0"));
    let shipped_each: Vec<_> = sending.purchase().unwrap().message().lines.iter().map(|line| line.shipped).collect();
    assert_eq!(shipped_each, [0, 1]);
    let (sent, _) = sending.decide(shipped(), NOW).unwrap();
    assert_eq!((sent.state, sent.saga.task), (State::PartiallyFulfilled, None));
    let book = after_of(&[("book", true, 1, 1_000)], &[confirm_and_send(), shipped()]);
    assert_eq!((book.state, book.close_time), (State::Fulfilled, Some(LATER)));
}

#[test]
fn what_is_on_its_way_cannot_be_cancelled_too() {
    install();
    let packed = after(&[confirm(), ship("shp_1", 2)]);
    let error = packed.decide(Command::Cancel(LATER), NOW).unwrap_err();
    assert_eq!((error.reason(), error.metadata("task"), error.retryable()), ("LOCK_CONFLICT", Some("shp_1"), true));
    let rest = after(&[confirm(), ship("shp_1", 2), shipped(), Command::Cancel(LATER)]);
    let line = &rest.purchase().unwrap().message().lines[0];
    assert_eq!((line.shipped, line.cancelled), (2, 1));
}
