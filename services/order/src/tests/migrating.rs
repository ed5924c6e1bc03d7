//! Orders from before there were purchases.

use super::*;
use crate::{order, saga};

/// T-UPGRADE.
#[tokio::test]
async fn trades_that_were_placed_before_are_kept_and_carried_on() {
    const PLACE: &str = "INSERT INTO orders (id, owner, state, sequence, facts, side, unit, quantity, price, currency,
            notional, fee, total, create_time, update_time, lease_until)
        VALUES ($1, 'usr_1', $2, 2, 3, 'BUY', 'BTC', '0.01', '50000', 'USD', '500.00', '0.50', '500.50', 1, 2, 3)";
    install();
    for database in storage::testing::each_database().await {
        let open = async |migrations| {
            let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
            Db::open(database.url(), Options { migrations, ..Options::new("order", clock) }).await.unwrap()
        };
        let db = open(&MIGRATIONS[..1]).await;
        let ends = [
            ("ord_1", order::State::Pending, saga::State::Running),
            ("ord_2", order::State::Fulfilled, saga::State::Succeeded),
            ("ord_3", order::State::Rejected, saga::State::Compensated),
        ];
        for (id, state, _) in ends {
            let place = async |unit: &mut storage::Unit| unit.exec(PLACE, &[id.into(), state.name().into()]).await;
            db.write(place).await.unwrap();
        }
        drop(db);
        let db = open(MIGRATIONS).await;
        for (id, state, saga) in ends {
            let load = async |session: &mut storage::Session| store::load(session, &Scope::All, id).await;
            let order = db.read(load).await.unwrap().unwrap();
            assert_eq!((order.state, order.saga.state, order.sequence, order.facts), (state, saga, 2, 3));
            assert!(!order.entries().is_empty() && order.purchase().is_none());
        }
        let claim = async |unit: &mut storage::Unit| store::claim(unit, unit.now(), 10).await;
        let due = db.write(claim).await.unwrap();
        assert_eq!(due.iter().map(|open| open.order.id.as_str()).collect::<Vec<_>>(), ["ord_1"]);
    }
}
