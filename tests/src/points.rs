//! Every place where a process may be killed, and what brings one there. A point that is new in the code and not killed at
//! is found by the last test.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::tidy::sources;

/// What comes to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A purchase by wallet.
    Wallet,
    /// A purchase by card.
    Card,
    /// A purchase by a card that the buyer has to confirm.
    Confirmed,
    /// The end of an order that was confirmed, by wallet.
    Cancelled,
    /// The same, by card.
    CancelledByCard,
    /// The end of an order whose payment the provider has not heard of.
    CancelledUnheard,
    /// A return that is put back into stock.
    Returned,
    /// A shipment that an operator gives up.
    GivenUp,
    /// A trade.
    Traded,
    /// A changed password, which ends sessions.
    Password,
}

/// Where a process may die, and on which ways each is killed there.
pub const POINTS: &[(&str, &[Way])] = &[
    ("order/before-commit", &[Way::Wallet, Way::Traded]),
    ("order/after-commit", &[Way::Wallet, Way::Cancelled, Way::Traded]),
    ("inventory/before-commit", &[Way::Wallet]),
    ("inventory/after-commit", &[Way::Wallet, Way::Cancelled, Way::Returned]),
    ("ledger/before-commit", &[Way::Wallet, Way::Traded]),
    ("ledger/after-commit", &[Way::Wallet, Way::Cancelled, Way::Traded]),
    ("payment/before-commit", &[Way::Wallet]),
    ("payment/after-commit", &[Way::Wallet, Way::Cancelled, Way::Returned]),
    ("inventory-after-batch", &[Way::Wallet]),
    ("order-after-reserve", &[Way::Wallet]),
    ("order-after-authorize", &[Way::Wallet]),
    ("order-after-pin", &[Way::Wallet]),
    ("order-after-confirm", &[Way::Wallet]),
    ("order-after-void", &[Way::Cancelled]),
    ("order-after-release", &[Way::Cancelled]),
    ("order-after-ledger", &[Way::Traded]),
    ("payment-after-ledger", &[Way::Wallet, Way::Cancelled]),
    ("payment-before-provider", &[Way::Card]),
    ("payment-after-provider", &[Way::Card]),
    ("payment-after-confirm", &[Way::Confirmed]),
    ("payment-after-capture", &[Way::Card]),
    ("payment-after-void", &[Way::CancelledUnheard]),
    ("payment-after-release", &[Way::CancelledByCard]),
    ("shipment-after-commit-stock", &[Way::Wallet]),
    ("shipment-after-capture", &[Way::Card]),
    ("shipment-after-restock", &[Way::GivenUp]),
    ("return-after-restock", &[Way::Returned]),
    ("return-after-refund", &[Way::Returned]),
    ("refund-after-provider", &[Way::Returned]),
    ("order/relay-after-append", &[Way::Wallet, Way::Traded]),
    ("inventory/relay-after-append", &[Way::Wallet]),
    ("ledger/relay-after-append", &[Way::Wallet]),
    ("payment/relay-after-append", &[Way::Wallet]),
    ("order/consumer-before-commit", &[Way::Card]),
    ("auth/consumer-before-commit", &[Way::Password]),
];

/// The points on a way.
pub fn on(way: Way) -> Vec<&'static str> {
    POINTS.iter().filter(|(_, ways)| ways.contains(&way)).map(|(point, _)| *point).collect()
}

#[test]
fn there_is_no_point_in_the_code_at_which_no_test_kills() -> Result<()> {
    let killed: BTreeSet<&str> = POINTS.iter().map(|(point, _)| point.rsplit('/').next().unwrap_or(point)).collect();
    let mut found = BTreeSet::new();
    for folder in ["storage/src", "services"] {
        for (path, code) in sources(folder)? {
            let hits = code.lines().filter(|line| line.contains("failpoint::hit"));
            found.extend(hits.map(|line| {
                let point = line.rsplit_once("\")").and_then(|(head, _)| head.rsplit_once('"'));
                point.unwrap_or_else(|| panic!("{}: no point in `{line}`", path.display())).1.to_owned()
            }));
        }
    }
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, killed);
    Ok(())
}
