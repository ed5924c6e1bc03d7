//! The pure rules: balance, overdraft, cost and profit, and how a withdrawal ends.

use kit::units::Unit;
use proptest::prelude::*;

use super::install;
use crate::{
    book::{self, Account, Book, Entry},
    hold,
    withdrawal::{Command, State},
};

const USD: Unit = Unit { scale: 2, fiat: true };
const BTC: Unit = Unit { scale: 8, fiat: false };

fn usd(owner: &str, atoms: i64) -> Entry {
    Entry { owner: owner.to_owned(), code: "USD".to_owned(), unit: USD, atoms }
}

fn btc(owner: &str, atoms: i64) -> Entry {
    Entry { owner: owner.to_owned(), code: "BTC".to_owned(), unit: BTC, atoms }
}

/// What a customer gets of money and of bitcoin; the house gives it.
fn both(money: i64, quantity: i64) -> Vec<Entry> {
    vec![usd("me", money), usd("house/a", -money), btc("me", quantity), btc("house/a", -quantity)]
}

fn rich() -> Book {
    Book::new([Account { posted: 100_000, ..Account::empty("me", "USD") }])
}

#[test]
fn entries_that_do_not_sum_to_zero_per_unit_are_refused() {
    install();
    let unbalanced = [usd("me", -5), usd("house/a", 4)];
    let crossed = [usd("me", -5), btc("house/a", 5)];
    for entries in [&unbalanced[..], &crossed] {
        assert_eq!(rich().post(entries, "USD").unwrap_err().reason(), "UNBALANCED_TRANSACTION");
    }
}

#[test]
fn a_customer_cannot_owe_and_is_told_what_is_there() {
    install();
    let mut book = rich();
    book.hold("me", "USD", USD, 40_000).unwrap();
    let before: Vec<_> = book.accounts().cloned().collect();
    let error = book.post(&[usd("me", -60_001), usd("house/a", 60_001)], "USD").unwrap_err();
    assert_eq!((error.reason(), error.metadata("available")), ("INSUFFICIENT_FUNDS", Some("600.00")));
    let error = book.post(&both(10, -1), "USD").unwrap_err();
    assert_eq!((error.reason(), error.metadata("unit")), ("INSUFFICIENT_HOLDINGS", Some("BTC")));
    assert_eq!(
        before,
        book.accounts().filter(|account| account.owner == "me" && account.code == "USD").cloned().collect::<Vec<_>>()
    );
    book.post(&[usd("me", -60_000), usd("house/a", 60_000)], "USD").unwrap();
}

#[test]
fn what_is_held_can_be_released_once() {
    install();
    let mut book = rich();
    assert_eq!(book.hold("me", "USD", USD, 100_001).unwrap_err().reason(), "INSUFFICIENT_FUNDS");
    book.hold("me", "USD", USD, 100_000).unwrap();
    assert_eq!(book.account("me", "USD").available(), 0);
    book.release("me", "USD", 100_000).unwrap();
    assert_eq!(book.release("me", "USD", 1).unwrap_err().reason(), "EXCEEDS_HOLD");
}

#[test]
fn a_sale_takes_its_share_of_the_cost_and_the_rest_is_profit() {
    install();
    let mut book = rich();
    book.post(&both(-10_000, 2), "USD").unwrap();
    book.post(&both(-20_000, 2), "USD").unwrap();
    let account = book.account("me", "BTC").clone();
    assert_eq!((account.posted, account.cost, account.realized), (4, 30_000, 0));
    book.post(&both(10_000, -1), "USD").unwrap();
    let account = book.account("me", "BTC").clone();
    assert_eq!((account.posted, account.cost, account.realized), (3, 22_500, 2_500));
}

#[test]
fn amounts_that_cannot_be_written_down_are_refused() {
    install();
    let mut book = Book::new([Account { posted: i64::MAX, ..Account::empty("me", "USD") }]);
    let error = book.post(&[usd("me", 1), usd("house/a", -1)], "USD").unwrap_err();
    assert_eq!(error.reason(), "AMOUNT_OUT_OF_RANGE");
}

#[test]
fn a_customer_meets_the_same_part_of_the_house_every_time() {
    let me = format!("usr_{}", "1".repeat(26));
    let spread = |side: i64| book::spread(vec![usd("house/a", side), usd(&me, -side), btc("house/b", side)]);
    let (bought, sold) = (spread(1), spread(-1));
    assert!(bought.iter().zip(&sold).all(|(one, other)| one.owner == other.owner));
    assert_eq!(bought[1].owner, me);
    assert!(bought[0].owner.starts_with("house/a#"));
    assert_eq!(book::whole(&bought[0].owner), "house/a");
    assert_eq!(bought[0].owner.split('#').next_back(), bought[2].owner.split('#').next_back());
}

#[test]
fn a_withdrawal_ends_once() {
    install();
    use {Command::*, State::*};
    for (state, command, expected) in [
        (Held, Settle, Some((Settled, hold::Command::Post { atoms: None, last: true }))),
        (Held, Reject, Some((Rejected, hold::Command::Void))),
        (Settled, Settle, None),
        (Settled, Reject, None),
        (Rejected, Settle, None),
        (Rejected, Reject, None),
    ] {
        match (state.decide(command), expected) {
            (Ok(next), Some(expected)) => assert_eq!(next, expected),
            (Err(error), None) => assert_eq!(error.reason(), "INVALID_STATE_TRANSITION"),
            (outcome, _) => panic!("{state:?} {command:?}: {outcome:?}"),
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_posted_the_books_sum_to_zero_and_no_customer_owes(
        moves in prop::collection::vec((0..3_usize, 0..3_usize, 1..2_000_i64, any::<bool>()), 0..60),
    ) {
        install();
        let mut book = Book::default();
        let owners = ["me", "you", "house/a"];
        for (from, to, atoms, fiat) in moves {
            let entry = if fiat { usd } else { btc };
            let _ = book.post(&[entry(owners[from], -atoms), entry(owners[to], atoms)], "USD");
            for code in ["USD", "BTC"] {
                prop_assert_eq!(book.accounts().filter(|account| account.code == code).map(|a| a.posted).sum::<i64>(), 0);
            }
            prop_assert!(book.accounts().all(|account| account.owner.starts_with("house/") || account.available() >= 0));
        }
    }

    #[test]
    fn cost_less_profit_is_what_was_paid_in_all_and_nothing_left_costs_nothing(
        trades in prop::collection::vec((-50_i64..50, 1..90_000_i64), 1..60),
    ) {
        install();
        let mut book = Book::new([Account { posted: i64::MAX / 2, ..Account::empty("me", "USD") }]);
        let mut paid = 0;
        for (quantity, money) in trades {
            let money = if quantity > 0 { -money } else { money };
            if quantity != 0 && book.post(&both(money, quantity), "USD").is_ok() {
                paid -= money;
            }
            let account = book.account("me", "BTC");
            prop_assert_eq!(account.cost - account.realized, paid);
            prop_assert!(account.cost >= 0);
            prop_assert!(account.posted != 0 || account.cost == 0);
        }
    }
}
