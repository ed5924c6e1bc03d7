//! Which part of the money belongs to which pieces.

use proptest::prelude::*;

use super::{fakes::cents, *};
use crate::purchase::Purchase;

fn purchase(goods: &[Good]) -> Purchase {
    install();
    Purchase::of(basket(goods), Some(address()), String::new()).unwrap()
}

/// Goods, and how many pieces of each go into each of a few parcels.
fn goods_and_parcels() -> impl Strategy<Value = (Vec<(i64, i64)>, Vec<usize>)> {
    let lines = prop::collection::vec((1_i64..12, 0_i64..100_000), 1..5);
    (lines, prop::collection::vec(0_usize..5, 0..60))
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

proptest! {
    #[test]
    fn parcels_of_any_size_cost_exactly_the_total((lines, order) in goods_and_parcels()) {
        let goods: Vec<Good> =
            lines.iter().zip(NAMES).map(|((quantity, cents), name)| (name, false, *quantity, *cents)).collect();
        let mut bought = purchase(&goods);
        let total = bought.total().unwrap();
        let mut charged = 0;
        for line in order {
            let left = bought.left();
            let Some(one) = left.get(line % left.len().max(1)) else { break };
            let (after, _, amount) = bought.ship(&[api::LineQuantity { quantity: 1, ..one.clone() }]).unwrap();
            charged += cents(Some(&amount));
            bought = after;
        }
        if !bought.left().is_empty() {
            let (after, _, amount) = bought.ship(&[]).unwrap();
            charged += cents(Some(&amount));
            bought = after;
        }
        prop_assert_eq!(charged, total);
        let (mut back, mut given) = (bought, 0);
        for (name, (quantity, _)) in NAMES.into_iter().zip(&lines) {
            for _ in 0..*quantity {
                let (after, _, amount) = back.take_back(&[pieces(name, 1)]).unwrap();
                given += cents(Some(&amount));
                back = after;
            }
        }
        prop_assert_eq!(given, total - SHIPPING);
    }

    #[test]
    fn what_is_cancelled_is_never_charged((lines, order) in goods_and_parcels()) {
        let goods: Vec<Good> =
            lines.iter().zip(NAMES).map(|((quantity, cents), name)| (name, false, *quantity, *cents)).collect();
        let mut bought = purchase(&goods);
        let total = bought.total().unwrap();
        let mut charged = 0;
        for line in order.into_iter().take(5) {
            let left = bought.left();
            let Some(one) = left.get(line % left.len().max(1)) else { break };
            let (after, _, amount) = bought.ship(&[api::LineQuantity { quantity: 1, ..one.clone() }]).unwrap();
            charged += cents(Some(&amount));
            bought = after;
        }
        let rest = bought.cancel_rest();
        prop_assert!(charged <= total && rest.left().is_empty());
        let refused = rest.ship(&[]).unwrap_err();
        prop_assert_eq!(refused.reason(), "QUANTITY_LIMIT");
    }
}

#[test]
fn shipping_is_charged_with_the_first_parcel_and_never_with_a_download() {
    let bought = purchase(MUGS_AND_BOOK);
    let (bought, _, download) = bought.ship(&bought.left_digital()).unwrap();
    assert_eq!(download.value, "10.00");
    let (bought, _, first) = bought.ship(&[pieces("mug", 1)]).unwrap();
    assert_eq!(first.value, "14.99", "a third of 30.01 and shipping");
    let (bought, _, last) = bought.ship(&[]).unwrap();
    assert_eq!(last.value, "20.01");
    assert!(bought.left().is_empty());
}

#[test]
fn a_currency_without_decimals_is_shared_in_whole_parts() {
    install();
    let mut quote = basket(&[("mug", false, 3, 0)]);
    let yen = |value| amount(value, "JPY");
    (quote.lines[0].total, quote.shipping, quote.total) = (yen("1000"), yen("0"), yen("1000"));
    let mut bought = Purchase::of(quote, Some(address()), String::new()).unwrap();
    let mut parcels = Vec::new();
    for _ in 0..3 {
        let (after, _, amount) = bought.ship(&[pieces("mug", 1)]).unwrap();
        (bought, _) = (after, parcels.push(amount.value));
    }
    assert_eq!(parcels, ["333", "333", "334"]);
}

#[test]
fn only_what_was_ordered_and_is_left_can_be_taken() {
    let bought = purchase(MUGS);
    let too_many = bought.ship(&[pieces("mug", 2), pieces("mug", 2)]).unwrap_err();
    assert_eq!((too_many.reason(), too_many.metadata("available")), ("QUANTITY_LIMIT", Some("3")));
    assert_eq!(bought.ship(&[pieces("cup", 1)]).unwrap_err().reason(), "INVALID_FIELD");
    assert_eq!(bought.take_back(&[pieces("mug", 1)]).unwrap_err().reason(), "QUANTITY_LIMIT");
    assert_eq!(bought.ship(&[pieces("mug", i64::MAX)]).unwrap_err().reason(), "QUANTITY_LIMIT");
    assert_eq!(bought.ship(&[pieces("mug", 0)]).unwrap_err().reason(), "QUANTITY_LIMIT");
}

#[test]
fn goods_that_are_shipped_need_an_address_in_the_country_of_the_quote() {
    install();
    let missing = Purchase::of(basket(MUGS), None, String::new()).unwrap_err();
    assert_eq!(missing.reason(), "INVALID_FIELD");
    let elsewhere = PurchaseQuote { country_code: "DE".to_owned(), ..basket(MUGS) };
    assert_eq!(Purchase::of(elsewhere, Some(address()), String::new()).unwrap_err().reason(), "INVALID_FIELD");
    assert!(Purchase::of(basket(&[("book", true, 1, 1_000)]), None, String::new()).is_ok());
}
