//! Many at once: money is conserved and nobody owes, on both databases.

use contracts::ledger::v1::{settle_withdrawal_request::Outcome, wallet_service_server::WalletService};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::*;

/// T-HOT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_buyers_drain_one_wallet_exactly() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let me = user();
        bench.deposit(&me, "320").await.unwrap();
        let mut buyers = JoinSet::new();
        for _ in 0..64 {
            let (bench, request) = (bench.clone(), trade(&me, "0.0001", "-10", "0.10"));
            buyers.spawn(async move { persist(&bench, request).await });
        }
        let outcomes = buyers.join_all().await;
        let bought = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(refused.clone().all(|error| error.reason() == "INSUFFICIENT_FUNDS"), "{outcomes:?}");
        assert_eq!((bought, refused.count()), (32, 32));
        assert_eq!(bench.balance(&me, "USD").await[0], "0.00");
        assert_eq!(bench.balance(&me, "BTC").await[0], "0.0032");
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_money_is_conserved_and_nobody_owes() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let people: Vec<String> = (0..5).map(|_| user()).collect();
        let mut crowd = JoinSet::new();
        for seed in 0..16 {
            crowd.spawn(act_at_random(bench.clone(), people.clone(), seed));
        }
        crowd.join_all().await;
        let books = bench.verify().await;
        assert!(books.holds, "{books:?}");
        assert!(books.units.iter().any(|unit| unit.account_count > 5));
        for person in &people {
            for unit in ["USD", "BTC"] {
                let balance = bench.balance(person, unit).await;
                assert!(balance.iter().all(|value| !value.starts_with('-')), "{balance:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_are_added_up_page_by_page_hold_while_money_moves() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let people: Vec<String> = (0..5).map(|_| user()).collect();
        let mut crowd = JoinSet::new();
        for seed in 0..4 {
            crowd.spawn(act_at_random(bench.clone(), people.clone(), seed));
        }
        let mut looked = 0;
        while !crowd.is_empty() {
            let start = crate::verify::Place::start();
            let (found, _) = crate::verify::by_pages(&bench.service, start, 3, None).await.unwrap();
            assert!(found.values().all(crate::verify::Sum::holds), "{found:?}");
            looked += 1;
            while let Some(done) = crowd.try_join_next() {
                done.unwrap();
            }
        }
        assert!(looked > 1, "it was looked at once, when all was over");
    }
}

async fn act_at_random(bench: Arc<Bench>, people: Vec<String>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let person = &people[rng.random_range(0..people.len())];
        let cents = rng.random_range(1..5_000);
        let money = kit::amount::format(cents, 2);
        let asset = kit::amount::format(rng.random_range(1..500_000), 8);
        let done = match rng.random_range(0..5) {
            0 => bench.deposit(person, &money).await.map(drop),
            1 => persist(&bench, trade(person, &asset, &format!("-{money}"), "0.00")).await.map(drop),
            2 => persist(&bench, trade(person, &format!("-{asset}"), &money, "0.00")).await.map(drop),
            _ => withdraw_and_settle(&bench, person, &money, rng.random()).await,
        };
        if let Err(error) = done {
            let expected = ["INSUFFICIENT_FUNDS", "INSUFFICIENT_HOLDINGS", "SERIALIZATION_FAILURE"];
            assert!(expected.contains(&error.reason()), "{error}");
        }
    }
}

async fn withdraw_and_settle(bench: &Bench, person: &str, money: &str, paid: bool) -> Result<(), Error> {
    let id = bench.withdraw(person, money).await?.id;
    let outcome = if paid { Outcome::Paid } else { Outcome::Refused };
    let request = api::SettleWithdrawalRequest { request_id: request_id(), id, outcome: outcome.into() };
    bench.as_service("ledger", bench.service.settle_withdrawal(Request::new(request))).await.map(drop)
}

/// Repeats what others were faster at, as order does.
async fn persist(bench: &Bench, request: api::PostTransactionRequest) -> Result<api::Transaction, Error> {
    loop {
        match bench.post(request.clone()).await {
            Err(error) if !error.definitive() => assert_eq!(error.reason(), "SERIALIZATION_FAILURE"),
            outcome => return outcome,
        }
    }
}
