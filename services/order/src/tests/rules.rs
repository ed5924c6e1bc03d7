//! The pure rules of an order.

use contracts::r#type::v1::Price;

use super::*;
use crate::order::{Command, Fact, Kind, Order, Rejection, Side, State, Trade};

fn order(side: Side) -> Order {
    let usd = |value| amount(value, "USD");
    let (notional, fee, total) = match side {
        Side::Buy => ("500.00", "0.50", "500.50"),
        Side::Sell => ("500.00", "0.50", "499.50"),
    };
    let trade = Trade {
        side,
        quantity: amount("0.01", "BTC").unwrap(),
        price: Price { value: "50000".to_owned(), currency: "USD".to_owned() },
        notional: usd(notional).unwrap(),
        fee: usd(fee).unwrap(),
        total: usd(total).unwrap(),
    };
    let (id, owner) = ("ord_1".to_owned(), "usr_1".to_owned());
    Order::place(id, owner, Kind::Trade(Box::new(trade)), None, None, Timestamp::from_seconds(1)).0
}

#[test]
fn an_order_ends_once_as_fulfilled_or_as_rejected() {
    install();
    let fulfil = Command::Fulfil { transaction_id: "txn_1".to_owned() };
    let reject = Command::Reject(Rejection { reason: "INSUFFICIENT_FUNDS".to_owned(), message: String::new() });
    let pending = order(Side::Buy);
    let now = Timestamp::from_seconds(2);
    let (fulfilled, facts) = pending.decide(fulfil.clone(), now).unwrap();
    assert_eq!((fulfilled.state, facts), (State::Fulfilled, &[Fact::TradeExecuted, Fact::Fulfilled][..]));
    assert_eq!((fulfilled.sequence, fulfilled.facts, fulfilled.update_time), (2, 3, now));
    let (rejected, facts) = pending.decide(reject.clone(), now).unwrap();
    assert_eq!((rejected.state, facts), (State::Rejected, &[Fact::Rejected][..]));
    assert_eq!((rejected.sequence, rejected.facts), (2, 2));
    for ended in [fulfilled, rejected] {
        for command in [fulfil.clone(), reject.clone()] {
            let error = ended.decide(command, now).unwrap_err();
            assert_eq!(error.reason(), "INVALID_STATE_TRANSITION");
            assert_eq!(error.metadata("from"), Some(ended.state.name()));
        }
    }
}

#[test]
fn a_trade_takes_no_command_of_a_purchase_wherever_it_stands() {
    install();
    let now = Timestamp::from_seconds(2);
    let pending = order(Side::Buy);
    let (of_trades, others): (Vec<_>, Vec<_>) =
        moves::commands().into_iter().partition(|(what, ..)| ["fulfil", "reject"].contains(what));
    assert!(of_trades.len() == 2 && others.len() > 2);
    let ended = of_trades.into_iter().map(|(_, command, _)| pending.decide(command, now).unwrap().0);
    for order in ended.chain([pending.clone()]).collect::<Vec<_>>() {
        let from = order.state.name();
        for (what, command, _) in &others {
            let error = order.decide(command.clone(), now).unwrap_err();
            let (reason, message) = match (*what, order.state.is_final()) {
                ("cancel", _) => {
                    let message = "A trade is carried out at once, or not at all: it cannot be cancelled.";
                    ("ORDER_NOT_CANCELLABLE", message.to_owned())
                }
                (_, true) => ("INVALID_STATE_TRANSITION", format!("The order has ended as {from}.")),
                (_, false) => {
                    let message = format!("The order is {from}, which does not allow this. Look at it again.");
                    ("INVALID_STATE_TRANSITION", message)
                }
            };
            assert_eq!((error.reason(), error.message()), (reason, message.as_str()), "{what} when {from}");
        }
    }
}

#[test]
fn the_entries_of_a_trade_sum_to_zero_per_unit_and_mirror_each_other() {
    let sums = |side| {
        let mut sums = std::collections::BTreeMap::new();
        for entry in order(side).entries() {
            let Amount { value, unit } = entry.amount.unwrap();
            let atoms = kit::amount::parse(&value, 8).unwrap();
            *sums.entry(unit.clone()).or_insert(0) += atoms;
            *sums.entry(format!("{} {unit}", entry.owner)).or_insert(0) += atoms;
        }
        sums
    };
    let (bought, sold) = (sums(Side::Buy), sums(Side::Sell));
    for sums in [&bought, &sold] {
        assert_eq!((sums["USD"], sums["BTC"]), (0, 0));
        assert_eq!(sums["house/fees USD"], 50_000_000);
    }
    assert_eq!((bought["usr_1 USD"], bought["usr_1 BTC"]), (-50_050_000_000, 1_000_000));
    assert_eq!((sold["usr_1 USD"], sold["usr_1 BTC"]), (49_950_000_000, -1_000_000));
    assert_eq!(bought["house/trading BTC"], -sold["house/trading BTC"]);
}

#[test]
fn a_trade_without_a_fee_has_no_entry_for_it() {
    let mut order = order(Side::Sell);
    let Kind::Trade(trade) = &mut order.kind else { panic!("it is a trade") };
    trade.fee = amount("0.00", "USD").unwrap();
    assert!(order.entries().iter().all(|entry| entry.owner != "house/fees"));
}
