use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const TERMS: Terms = Terms {
    fee_bps: 10,
    lifetime: Duration::from_secs(30),
    price_age_max: Duration::from_secs(10),
    slippage_max_bps: 100,
};

fn asset(scale: u8) -> Unit {
    Unit { code: "BTC".into(), kind: UnitKind::Asset, scale }
}

fn usd() -> Unit {
    Unit { code: "USD".into(), kind: UnitKind::Fiat, scale: 2 }
}

/// A market that buys at `bid` and sells at `ask`, in whole dollars.
fn market(bid: i64, ask: i64) -> Tick {
    let atoms = |dollars: i64| dollars * 100_000_000;
    Tick { unit: "BTC".into(), bid: atoms(bid), ask: atoms(ask), last: atoms(bid), day_ago: None, observe_time: NOW }
}

fn quote(side: Side, quantity: i64) -> Result<Quote, Error> {
    Quote::new(side, (quantity, &asset(8)), &usd(), Some(&market(60_000, 60_010)), &TERMS, NOW)
}

#[test]
fn a_buyer_pays_the_ask_and_a_seller_gets_the_bid_less_the_fee() {
    for (side, quantity, notional, fee, total) in [
        // 0.01 BTC
        (Side::Buy, 1_000_000, 60_010, 61, 60_071),
        (Side::Sell, 1_000_000, 60_000, 60, 59_940),
        // 1 BTC
        (Side::Buy, 100_000_000, 6_001_000, 6_001, 6_007_001),
        (Side::Sell, 100_000_000, 6_000_000, 6_000, 5_994_000),
        // the smallest part of a BTC is worth 0.06 cents
        (Side::Buy, 1, 1, 1, 2),
    ] {
        let quote = quote(side, quantity).unwrap();
        assert_eq!((quote.notional, quote.fee, quote.total), (notional, fee, total), "{side:?} {quantity}");
        assert_eq!(quote.expire_time, NOW + Duration::from_secs(30));
    }
}

#[test]
fn a_quantity_that_is_nothing_or_too_much_is_refused() {
    crate::tests::install_contract();
    // 33 atoms are worth 1.98 cents: one cent, and the fee takes it.
    for (side, quantity) in [(Side::Buy, 0), (Side::Buy, -1), (Side::Buy, i64::MIN), (Side::Sell, 1), (Side::Sell, 33)]
    {
        assert_eq!(quote(side, quantity).unwrap_err().reason(), "AMOUNT_OUT_OF_RANGE", "{side:?} {quantity}");
    }
    let whole = Quote::new(Side::Buy, (i64::MAX, &asset(0)), &usd(), Some(&market(1, 2)), &TERMS, NOW);
    assert_eq!(whole.unwrap_err().reason(), "AMOUNT_OUT_OF_RANGE");
    let currency = Quote::new(Side::Buy, (1, &usd()), &usd(), Some(&market(1, 2)), &TERMS, NOW);
    assert_eq!(currency.unwrap_err().reason(), "UNIT_MISMATCH");
}

#[test]
fn no_price_is_made_from_a_market_that_is_silent() {
    crate::tests::install_contract();
    let at = |now| Quote::new(Side::Buy, (1_000_000, &asset(8)), &usd(), Some(&market(1, 2)), &TERMS, now);
    assert!(at(NOW + Duration::from_secs(10)).is_ok());
    let stale = at(NOW + Duration::from_micros(10_000_001)).unwrap_err();
    assert_eq!((stale.reason(), stale.metadata("unit")), ("PRICE_STALE", Some("BTC")));
    let never = Quote::new(Side::Buy, (1, &asset(8)), &usd(), None, &TERMS, NOW);
    assert_eq!(never.unwrap_err().reason(), "PRICE_STALE");
}

#[test]
fn a_quote_holds_until_it_expires_or_the_market_has_moved_too_far_against_the_caller() {
    crate::tests::install_contract();
    let (buy, sell) = (quote(Side::Buy, 1_000_000).unwrap(), quote(Side::Sell, 1_000_000).unwrap());
    let second = Duration::from_secs(1);
    for (quote, bid, ask, slippage, refusal) in [
        (&buy, 60_000, 60_010, 0, None),
        // 1 % above 60,010 is 60,610.10
        (&buy, 60_600, 60_610, 0, None),
        (&buy, 60_600, 60_611, 0, Some("SLIPPAGE_EXCEEDED")),
        (&buy, 10_000, 10_010, 0, None),
        (&buy, 60_000, 60_020, 1, Some("SLIPPAGE_EXCEEDED")),
        (&buy, 60_000, 60_016, 1, None),
        (&buy, 60_600, 60_611, 10_000, Some("SLIPPAGE_EXCEEDED")),
        // 1 % below 60,000 is 59,400
        (&sell, 59_400, 59_410, 0, None),
        (&sell, 59_399, 59_410, 0, Some("SLIPPAGE_EXCEEDED")),
        (&sell, 90_000, 90_010, 0, None),
    ] {
        let held = quote.holds(Some(&market(bid, ask)), slippage, &TERMS, NOW + second);
        assert_eq!(held.err().as_ref().map(Error::reason), refusal, "{:?} {bid} {ask} {slippage}", quote.side);
    }
    let mut fresh = market(60_000, 60_010);
    fresh.observe_time = NOW + second * 30;
    assert!(buy.holds(Some(&fresh), 0, &TERMS, NOW + Duration::from_micros(29_999_999)).is_ok());
    assert_eq!(buy.holds(Some(&fresh), 0, &TERMS, NOW + second * 30).unwrap_err().reason(), "QUOTE_EXPIRED");
    let silent = buy.holds(Some(&market(60_000, 60_010)), 0, &TERMS, NOW + second * 11);
    assert_eq!(silent.unwrap_err().reason(), "PRICE_STALE");
}

#[test]
fn a_price_worse_than_the_limit_is_refused() {
    crate::tests::install_contract();
    let dollar = 100_000_000;
    let (buy, sell) = (quote(Side::Buy, 1_000_000).unwrap(), quote(Side::Sell, 1_000_000).unwrap());
    assert!(buy.clone().within(60_010 * dollar).is_ok());
    assert_eq!(buy.within(60_010 * dollar - 1).unwrap_err().reason(), "SLIPPAGE_EXCEEDED");
    assert!(sell.clone().within(60_000 * dollar).is_ok());
    assert_eq!(sell.within(60_000 * dollar + 1).unwrap_err().reason(), "SLIPPAGE_EXCEEDED");
}

proptest! {
    #[test]
    fn no_rounding_ever_favours_the_customer(
        quantity in 1i64..=10_000_000_000_000,
        scale in 0u8..=8,
        bid in 1i64..=10_000_000_000_000,
        spread in 0i64..=1_000_000,
        fee_bps in 0u32..=1_000,
        buy: bool,
    ) {
        crate::tests::install_contract();
        let tick = Tick { unit: "BTC".into(), bid, ask: bid + spread, last: bid, day_ago: None, observe_time: NOW };
        let side = if buy { Side::Buy } else { Side::Sell };
        let terms = Terms { fee_bps, ..TERMS };
        match Quote::new(side, (quantity, &asset(scale)), &usd(), Some(&tick), &terms, NOW) {
            Err(refusal) => prop_assert_eq!(refusal.reason(), "AMOUNT_OUT_OF_RANGE"),
            Ok(quote) => {
                // Both sides of the comparison in parts of 10^-(scale + 8) USD, and the fee in parts 10,000 times as small.
                let exact = i128::from(quantity) * i128::from(quote.price);
                let cent = 10_i128.pow(u32::from(scale) + 8 - 2);
                let (notional, fee) = (i128::from(quote.notional) * cent, i128::from(quote.fee));
                let exact_fee = i128::from(quote.notional) * i128::from(fee_bps);
                prop_assert!(fee * PER_BPS >= exact_fee && (fee - 1) * PER_BPS < exact_fee);
                if buy {
                    prop_assert!(notional >= exact && notional - cent < exact);
                    prop_assert_eq!(quote.total, quote.notional + quote.fee);
                } else {
                    prop_assert!(notional <= exact && notional + cent > exact);
                    prop_assert_eq!(quote.total, quote.notional - quote.fee);
                }
                prop_assert!(quote.total > 0);
                prop_assert!(quote.holds(Some(&tick), 0, &terms, NOW).is_ok());
            }
        }
    }
}
