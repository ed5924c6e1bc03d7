//! What the reconciler leaves alone.

use super::*;

#[tokio::test]
async fn a_payment_that_has_ended_is_looked_at_once_and_then_left_alone() {
    for bench in Bench::each().await {
        let (wallet, open) = (purchase("10.00"), purchase("10.00"));
        bench.process(wallet.clone()).await.unwrap();
        bench.capture(&wallet.id, &shipment(), "", true).await.unwrap();
        bench.process(open.clone()).await.unwrap();
        // As another replica leaves it that took them before they were what they are.
        bench.run_sql("UPDATE payments SET due_time = 1").await;
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (2, 0));
        bench.clock.advance(6 * DAY);
        assert_eq!(bench.reconcile().await, 0);
        // What is still secured is looked at when it expires; what was taken never.
        bench.clock.advance(2 * DAY);
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (1, 0));
        assert_eq!((bench.state(&wallet.id).await, bench.state(&open.id).await), (State::Captured, State::Failed));
        assert_eq!(bench.number("SELECT COUNT(*) FROM payments WHERE due_time IS NOT NULL").await, 0);
    }
}

#[tokio::test]
async fn a_provider_is_not_asked_again_for_a_capture_that_has_ended() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001109").await;
        bench.process(asked.clone()).await.unwrap();
        bench.capture(&asked.id, &shipment(), "4.00", false).await.unwrap_err();
        // As another replica leaves it that took the capture just before it ended; asked again, the provider would take it.
        bench.run_sql("UPDATE captures SET due_time = 1").await;
        bench.run_sql("UPDATE simulator_charges SET behavior = 'approve'").await;
        bench.reconcile().await;
        assert_eq!(bench.number("SELECT CAST(SUM(captured) AS BIGINT) FROM simulator_charges").await, 0);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_sweep_removes_everything_that_is_old_enough_however_much_it_is() {
    for bench in Bench::each().await {
        bench
            .run_sql(
                "INSERT INTO provider_events (provider, id, create_time)
                    WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 1201)
                    SELECT 'simulator', 'evt_' || n, n FROM counted",
            )
            .await;
        let asked = bench.card(GOOD).await;
        bench.process(asked).await.unwrap();
        assert_eq!(bench.send_callbacks().await, 1);
        reconcile::sweep(&bench.service).await;
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 1);
    }
}

#[tokio::test]
async fn whatever_is_unfinished_is_known_by_its_age() {
    for bench in Bench::each().await {
        let minute = Duration::from_secs(60);
        let oldest = async || crate::alarm::oldest(&bench.service).await.unwrap();
        // Secured money is at rest.
        bench.process(purchase("10.00")).await.unwrap();
        assert_eq!(oldest().await, None);

        let asked = bench.card("4000000000001026").await;
        bench.process(asked.clone()).await.unwrap();
        bench.clock.advance(minute);
        assert_eq!(oldest().await, Some((asked.id.clone(), minute)));
        assert_eq!((bench.reconcile().await, oldest().await), (1, None));

        bench.capture(&asked.id, &shipment(), "4.00", false).await.unwrap_err();
        bench.clock.advance(minute);
        assert_eq!(oldest().await, Some((asked.id.clone(), minute)));
        assert_eq!((bench.reconcile().await, oldest().await), (1, None));

        let refund = bench.refund(&asked.id, "1.00").await.unwrap();
        bench.clock.advance(minute);
        bench.void(&asked).await.unwrap();
        bench.clock.advance(minute);
        assert_eq!(oldest().await, Some((refund.id, 2 * minute)), "the oldest of both");
        assert_eq!(bench.reconcile().await, 2);
        assert_eq!(oldest().await, None);
    }
}
