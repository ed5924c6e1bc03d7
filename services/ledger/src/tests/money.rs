//! Transactions: whole or not at all, once, and added up.

use contracts::ledger::v1::{self as api, ledger_service_server::LedgerService};
use storage::Unit;
use tonic::Request;

use super::*;
use crate::verify::{self, Place, by_pages};

#[tokio::test]
async fn a_trade_moves_money_and_asset_together_and_can_be_read_back() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "1000").await.unwrap();
        let request = trade(&me, "0.01", "-500.50", "0.50");
        let posted = bench.post(request.clone()).await.unwrap();
        assert_eq!(posted.reference, request.reference);
        assert_eq!(bench.balance(&me, "USD").await[0], "499.50");
        assert_eq!(bench.balance(&me, "BTC").await[0], "0.01");
        let get = Request::new(api::GetTransactionRequest { id: posted.id.clone() });
        let read = bench.as_service("ops", bench.service.get_transaction(get)).await.unwrap();
        assert_eq!(read.transaction, Some(posted));
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_repeat_gets_the_same_transaction_whether_or_not_a_user_comes_along() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "1000").await.unwrap();
        let request = trade(&me, "0.01", "-500.50", "0.50");
        let first = bench.post(request.clone()).await.unwrap();
        let call = Call { peer: Call::background("order", Duration::ZERO).peer, ..user_call(&me) };
        let again = answer(call, bench.service.post_transaction(Request::new(request))).await.unwrap();
        assert_eq!(again.transaction, Some(first));
        assert_eq!(bench.balance(&me, "USD").await[0], "499.50");
    }
}

#[tokio::test]
async fn a_repeat_that_comes_when_its_key_was_swept_gets_the_same_transaction() {
    for bench in Bench::each().await {
        let me = user();
        let request = api::PostTransactionRequest {
            kind: "refund".to_owned(),
            ..posting(vec![("house/sales", "-5".into(), "USD"), (&me, "5".into(), "USD")])
        };
        let post = async |request: &api::PostTransactionRequest| {
            bench.as_service("payment", bench.service.post_transaction(Request::new(request.clone()))).await
        };
        let first = post(&request).await.unwrap();
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(storage::idempotency::sweep(&bench.db, bench.clock.now()).await.unwrap(), 1);
        assert_eq!(post(&request).await.unwrap(), first);
        assert_eq!(bench.balance(&me, "USD").await[0], "5.00");
        bench.clock.advance(Duration::from_secs(1));
        storage::idempotency::sweep(&bench.db, bench.clock.now()).await.unwrap();
        let other = api::PostTransactionRequest { kind: "trade".to_owned(), ..request };
        assert_eq!(post(&other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_transaction_that_is_refused_leaves_nothing_and_stays_refused() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let request = trade(&me, "0.01", "-500.50", "0.50");
        let error = bench.post(request.clone()).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("available")), ("INSUFFICIENT_FUNDS", Some("100.00")));
        assert_eq!(bench.balance(&me, "BTC").await[0], "0");
        bench.deposit(&me, "1000").await.unwrap();
        assert_eq!(bench.post(request).await.unwrap_err(), error);
        let unbalanced = posting(vec![(&me, "-1".into(), "USD"), ("house/fees", "2".into(), "USD")]);
        assert_eq!(bench.post(unbalanced).await.unwrap_err().reason(), "UNBALANCED_TRANSACTION");
        let sale = trade(&me, "-0.01", "500", "0.50");
        assert_eq!(bench.post(sale).await.unwrap_err().reason(), "INSUFFICIENT_HOLDINGS");
        assert_eq!(bench.balance(&me, "USD").await[0], "1100.00");
    }
}

#[tokio::test]
async fn a_planted_fault_is_found_when_the_books_are_added_up() {
    const FAULTS: [&str; 3] = [
        "UPDATE accounts SET posted = posted + 1 WHERE owner LIKE 'house/bank%'",
        "UPDATE accounts SET held = held + 1 WHERE limited = 1",
        "UPDATE entries SET atoms = atoms + 1 WHERE owner LIKE 'house/bank%'",
    ];
    for fault in FAULTS {
        for bench in Bench::each().await {
            bench.deposit(&user(), "100").await.unwrap();
            assert!(bench.verify().await.holds);
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
            assert!(!bench.verify().await.holds, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_fault_is_found_on_whichever_page_it_is_and_pages_add_up_to_the_whole() {
    const FAULTS: [&str; 9] = [
        "UPDATE accounts SET posted = posted + 1 WHERE held > 0",
        "UPDATE accounts SET held = held - 1 WHERE held > 0",
        "UPDATE holds SET posted = 1 WHERE state = 'HELD'",
        "UPDATE accounts SET posted = posted + 1 WHERE owner = (SELECT MIN(owner) FROM accounts)",
        "UPDATE accounts SET posted = posted + 1 WHERE owner = (SELECT MAX(owner) FROM accounts)",
        "DELETE FROM accounts WHERE owner = (SELECT MAX(owner) FROM accounts)",
        // An account of nobody who is known, right before the busiest.
        "INSERT INTO accounts (owner, unit, posted, held, limited, cost, realized, version)
            SELECT substr(owner, 1, length(owner) - 1), 'USD', 1, 0, 0, 0, 0, 1 FROM owners
            WHERE sequence = (SELECT MAX(sequence) FROM owners)",
        "UPDATE entries SET atoms = atoms + 1 WHERE transaction_id = (SELECT MIN(transaction_id) FROM entries)",
        "UPDATE entries SET atoms = atoms + 1 WHERE transaction_id = (SELECT MAX(transaction_id) FROM entries)",
    ];
    for fault in FAULTS {
        for bench in Bench::each().await {
            let busy = user();
            for _ in 0..5 {
                bench.deposit(&user(), "100").await.unwrap();
                bench.deposit(&busy, "100").await.unwrap();
            }
            bench.withdraw(&busy, "30").await.unwrap();
            bench.post(trade(&busy, "0.001", "-50.50", "0.50")).await.unwrap();
            let pages = async |size| by_pages(&bench.service, Place::start(), size, None).await.unwrap().0;
            let whole = pages(1_000).await;
            for size in [1, 2, 3] {
                assert_eq!(pages(size).await, whole, "{size} at a time");
            }
            assert!(whole.values().all(verify::Sum::holds), "{whole:?}");
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
            for size in [1, 2, 100] {
                let found = pages(size).await;
                assert!(!found.values().all(verify::Sum::holds), "{fault}, {size} at a time: {found:?}");
            }
        }
    }
}

/// What checks say that have time for a page each.
async fn verify_in_haste(bench: &Bench) -> Vec<api::VerifyLedgerResponse> {
    let mut checks = Vec::new();
    let mut page_token = String::new();
    for _ in 0..20 {
        let call = Call::background("edge", Duration::from_millis(900));
        let request = Request::new(api::VerifyLedgerRequest { page_token });
        let found = answer(call, bench.service.verify_ledger(request)).await.unwrap();
        page_token = found.next_page_token.clone();
        checks.push(found);
        if page_token.is_empty() {
            return checks;
        }
    }
    panic!("it does not end");
}

#[tokio::test]
async fn a_check_that_runs_out_of_time_says_where_to_go_on_and_misses_nothing() {
    // Two transactions that are off in opposite ways.
    const FAULTS: [&str; 2] = [
        "UPDATE entries SET atoms = atoms + 1 WHERE atoms > 0 AND transaction_id = (SELECT MIN(id) FROM transactions)",
        "UPDATE entries SET atoms = atoms - 1 WHERE atoms > 0 AND transaction_id = (SELECT MAX(id) FROM transactions)",
    ];
    for bench in Bench::each().await {
        for _ in 0..3 {
            bench.deposit(&user(), "100").await.unwrap();
        }
        let whole = bench.verify().await;
        let [unit] = whole.units.as_slice() else { panic!("{whole:?}") };
        let sum = |checks: &[api::VerifyLedgerResponse], of: fn(&api::UnitCheck) -> i64| -> i64 {
            checks.iter().flat_map(|check| check.units.iter().map(of)).sum()
        };
        let checks = verify_in_haste(&bench).await;
        assert!(checks.len() > 1, "{checks:?}");
        assert_eq!(sum(&checks, |unit| unit.account_count), unit.account_count);
        for check in &checks {
            assert_eq!(check.holds, check.next_page_token.is_empty(), "it holds only at the end: {checks:?}");
        }
        for fault in FAULTS {
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
        }
        assert_eq!(sum(&verify_in_haste(&bench).await, |unit| unit.unbalanced_count), 2);
        let whole = bench.verify().await;
        let [unit] = whole.units.as_slice() else { panic!("{whole:?}") };
        assert_eq!((whole.holds, unit.unbalanced_count), (false, 2));
        assert_eq!(unit.sum.as_ref().map(|sum| sum.value.as_str()), Some("0.00"), "they hide each other");
    }
}

#[tokio::test]
async fn a_fault_on_the_first_page_makes_the_last_say_that_not_everything_holds() {
    const FAULT: &str = "UPDATE accounts SET posted = posted + 1 WHERE owner = (SELECT MIN(owner) FROM accounts)";
    for bench in Bench::each().await {
        bench.deposit(&user(), "100").await.unwrap();
        bench.db.write(async |unit: &mut Unit| unit.exec(FAULT, &[]).await).await.unwrap();
        let checks = verify_in_haste(&bench).await;
        let [first, .., last] = checks.as_slice() else { panic!("{checks:?}") };
        assert!(!first.units[0].accounts_match, "{checks:?}");
        assert!(last.units.iter().all(|unit| unit.accounts_match && unit.unbalanced_count == 0), "{checks:?}");
        assert!(!last.holds, "{checks:?}");
    }
}

#[tokio::test]
async fn a_token_that_says_nothing_to_verify_is_refused_and_not_taken_for_the_end() {
    for bench in Bench::each().await {
        let verify = async |page_token: String| {
            let request = Request::new(api::VerifyLedgerRequest { page_token });
            bench.as_service("edge", bench.service.verify_ledger(request)).await
        };
        let token = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            bench.service.0.tokens.encode(verify::TOKENS, &keys)
        };
        let nothing: [&[&str]; 4] =
            [&["true", "nothing", ""], &["true", "accounts"], &["transactions", ""], &["", "transactions", ""]];
        for page_token in nothing.map(token).into_iter().chain(["x".to_owned()]) {
            assert_eq!(verify(page_token).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
        }
        assert!(verify(token(&["true", "transactions", ""])).await.unwrap().holds);
    }
}

#[tokio::test]
async fn the_database_itself_refuses_an_overdraft() {
    const OVERDRAW: &str = "UPDATE accounts SET posted = -1 WHERE limited = 1";
    for bench in Bench::each().await {
        bench.deposit(&user(), "100").await.unwrap();
        let overdrawn = bench.db.write(async |unit: &mut Unit| unit.exec(OVERDRAW, &[]).await).await;
        assert_eq!(overdrawn.unwrap_err().reason(), "INTERNAL");
    }
}

#[tokio::test]
async fn a_trade_costs_one_commit_and_a_constant_number_of_statements() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "1000").await.unwrap();
        bench.post(trade(&me, "0.01", "-100.50", "0.50")).await.unwrap();
        let before = bench.db.stats();
        bench.post(trade(&me, "0.01", "-100.50", "0.50")).await.unwrap();
        let after = bench.db.stats();
        assert_eq!(after.commits - before.commits, 1);
        let statements = after.statements - before.statements;
        assert!(statements <= 8, "{statements} statements");
    }
}
