//! The audit: quiet as long as everything holds, and heard as soon as something does not.

use super::*;
use crate::verify;

/// Faults: what plants one, what heals it, and what is said meanwhile.
const FAULTS: [(&str, &str, &str); 14] = [
    (
        "UPDATE payments SET captured = captured - 100 WHERE state = 'CAPTURED' AND refunded < captured",
        "UPDATE payments SET captured = captured + 100 WHERE state = 'CAPTURED' AND refunded < captured",
        "captures that do not sum",
    ),
    (
        "UPDATE captures SET state = 'PROCESSING'",
        "UPDATE captures SET state = 'SUCCEEDED'",
        "captures under way that do not sum",
    ),
    (
        "UPDATE payments SET refunded = refunded + 1 WHERE refunded > 0",
        "UPDATE payments SET refunded = refunded - 1 WHERE refunded > 0",
        "refunds that do not sum",
    ),
    (
        "UPDATE payments SET state = 'VOIDED' WHERE state = 'CAPTURED'",
        "UPDATE payments SET state = 'CAPTURED' WHERE state = 'VOIDED' AND captured > 0",
        "ended without money",
    ),
    (
        "UPDATE simulator_charges SET captured = captured - 100 WHERE captured > 0",
        "UPDATE simulator_charges SET captured = captured + 100 WHERE captured > 0",
        "captured something else than its provider says",
    ),
    (
        "UPDATE simulator_charges SET refunded = refunded + 100 WHERE refunded > 0",
        "UPDATE simulator_charges SET refunded = refunded - 100 WHERE refunded > 0",
        "refunded something else than its provider says",
    ),
    (
        "UPDATE simulator_charges SET state = 'REQUIRES_ACTION' WHERE state = 'AUTHORIZED'",
        "UPDATE simulator_charges SET state = 'AUTHORIZED' WHERE state = 'REQUIRES_ACTION'",
        "its provider says that it is not",
    ),
    (
        "UPDATE simulator_charges SET state = 'AUTHORIZED' WHERE state = 'DECLINED'",
        "UPDATE simulator_charges SET state = 'DECLINED' WHERE key IN (SELECT id FROM payments WHERE state = 'FAILED')",
        "nobody wants it",
    ),
    (
        "UPDATE simulator_charges SET state = 'AUTHORIZED' WHERE state = 'VOIDED'",
        "UPDATE simulator_charges SET state = 'VOIDED' WHERE captured > 0",
        "nobody wants it",
    ),
    (
        "UPDATE simulator_charges SET key = '_' || key WHERE state = 'AUTHORIZED'",
        "UPDATE simulator_charges SET key = substr(key, 2) WHERE state = 'AUTHORIZED'",
        "nobody wants it",
    ),
    (
        "INSERT INTO history VALUES ('pay_0', 9, 'VOIDED', 'AUTHORIZED', 0, '')",
        "DELETE FROM history WHERE aggregate = 'pay_0'",
        "INV-6: pay_0 had ended as VOIDED",
    ),
    (
        "INSERT INTO history VALUES ('pay_0', 9, 'AUTHORIZED', 'PROCESSING', 0, '')",
        "DELETE FROM history WHERE aggregate = 'pay_0'",
        "INV-7: pay_0 went from AUTHORIZED to PROCESSING",
    ),
    (
        "INSERT INTO history VALUES ('rfd_0', 9, 'SUCCEEDED', 'FAILED', 0, '')",
        "DELETE FROM history WHERE aggregate = 'rfd_0'",
        "INV-6: rfd_0 had ended as SUCCEEDED",
    ),
    (
        "INSERT INTO history VALUES ('rfd_0', 9, 'PENDING', 'SUCCEEDED', 0, '')",
        "DELETE FROM history WHERE aggregate = 'rfd_0'",
        "INV-7: rfd_0 went from PENDING to SUCCEEDED",
    ),
];

fn sorted(mut problems: Vec<String>) -> Vec<String> {
    problems.sort();
    problems
}

/// Payments of every kind, at rest.
async fn everything(bench: &Bench) {
    let wallet = purchase("10.00");
    bench.process(wallet.clone()).await.unwrap();
    bench.capture(&wallet.id, &shipment(), "4.00", false).await.unwrap();
    bench.refund(&wallet.id, "1.00").await.unwrap();
    bench.void(&purchase("1.00")).await.unwrap();
    let payment = bench.captured().await;
    bench.refund(&payment.id, "3.00").await.unwrap();
    let part = bench.card(GOOD).await;
    bench.process(part.clone()).await.unwrap();
    bench.capture(&part.id, &shipment(), "4.00", true).await.unwrap();
    bench.process(bench.card(GOOD).await).await.unwrap();
    bench.process(bench.card("4000000000000002").await).await.unwrap_err();
}

#[tokio::test]
async fn every_fault_that_is_planted_is_found_and_named() {
    for bench in Bench::each().await {
        everything(&bench).await;
        let verified = bench.verify().await;
        assert_eq!((verified.holds, verified.payment_count), (true, 6), "{:?}", verified.problems);
        for (plant, heal, problem) in FAULTS {
            bench.run_sql(plant).await;
            let verified = bench.verify().await;
            let heard = verified.problems.iter().any(|found| found.contains(problem));
            assert!(!verified.holds && heard, "{problem}: {:?}", verified.problems);
            // However little one read looks at, nothing falls between two of them.
            let (paged, left) = verify::by_pages(&bench.service, verify::start(), 1, None).await.unwrap();
            assert_eq!((sorted(paged.problems), paged.payment_count), (sorted(verified.problems), 6));
            assert_eq!(left, None);
            bench.run_sql(heal).await;
            bench.assert_sound().await;
        }
    }
}

/// One read looks at a page, so that nobody waits for the audit however much there is.
#[tokio::test]
async fn an_audit_is_many_small_reads_and_goes_on_where_it_stopped() {
    for bench in Bench::each().await {
        bench
            .run_sql(
                "INSERT INTO payments (id, order_id, owner, provider, state, unit, scale, amount, captured, capturing,
                        refunded, void_asked, release, sequence, facts, create_time, update_time)
                    WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 2500)
                    SELECT 'pay_' || n, 'ord_0', 'usr_0', 'wallet', 'CAPTURED', 'USD', 2, 1000, 0, 0, 0, 0, 'NONE', 1, 1,
                        n, n FROM counted",
            )
            .await;
        let verified = bench.verify().await;
        assert_eq!((verified.holds, verified.payment_count), (true, 2_500));
        let over = Some(tokio::time::Instant::now());
        let (found, left) = verify::by_pages(&bench.service, verify::start(), 1_000, over).await.unwrap();
        assert_eq!((found.payment_count, left.is_some()), (1_000, true), "out of time");

        bench.run_sql("UPDATE payments SET captured = 1").await;
        let (mut page_token, mut counts) = (String::new(), Vec::new());
        loop {
            let verified = bench.verify_from(&page_token).await.unwrap();
            assert!(!verified.holds, "what was wrong before stays wrong");
            counts.push((verified.payment_count, verified.problems.len()));
            page_token = verified.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(counts, [(1_000, 100), (1_000, 100), (500, 100), (0, 0)]);
        assert_eq!(bench.verify_from("elsewhere").await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
    }
}

/// The order's own audit lists what is secured, among everything that was ever paid.
#[tokio::test]
async fn payments_of_one_state_are_found_by_an_index() {
    let bench = Bench::over(Database::sqlite(), settings()).await;
    const PLAN: &str = "EXPLAIN QUERY PLAN SELECT id FROM payments
        WHERE (create_time, id) < ($1, $2) AND state = $3 ORDER BY create_time DESC, id DESC LIMIT 50";
    let binds: [storage::Bind; 3] = [bench.clock.now().into(), "pay_0".into(), "AUTHORIZED".into()];
    let plan = bench.db.read(async |session: &mut storage::Session| session.rows(PLAN, &binds).await).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|step| step.text(3).unwrap()).collect();
    assert!(plan.len() == 1 && plan[0].contains("payments_by_state (state=? AND"), "{plan:?}");
}

/// INV-9 stands in the tables as well: what would break it is refused by the database.
#[tokio::test]
async fn the_database_refuses_figures_that_do_not_fit() {
    for bench in Bench::each().await {
        everything(&bench).await;
        for sql in [
            "UPDATE payments SET refunded = captured + 1",
            "UPDATE payments SET refunded = -1",
            "UPDATE payments SET captured = amount + 1",
            "UPDATE payments SET capturing = amount - captured + 1",
            "UPDATE captures SET atoms = 0",
            "UPDATE refunds SET atoms = 0",
        ] {
            let done = bench.db.write(async |unit: &mut storage::Unit| unit.exec(sql, &[]).await).await;
            assert!(done.is_err(), "{sql}");
        }
        bench.assert_sound().await;
    }
}
