//! What a person sees of the ledger.

use contracts::ledger::v1::{
    self as api, settle_withdrawal_request::Outcome, wallet_service_server::WalletService, withdrawal::State,
};
use kit::drain::Drain;
use storage::testing::Database;
use tonic::Request;

use super::*;

async fn settle(bench: &Bench, id: &str, outcome: Outcome) -> Result<api::Withdrawal, Error> {
    let request = api::SettleWithdrawalRequest { request_id: request_id(), id: id.to_owned(), outcome: outcome.into() };
    let reply = bench.as_service("ledger", bench.service.settle_withdrawal(Request::new(request))).await?;
    Ok(reply.withdrawal.unwrap())
}

#[tokio::test]
async fn someone_without_an_account_has_no_money_and_sees_that() {
    for bench in Bench::each().await {
        assert_eq!(bench.balance(&user(), "USD").await, ["0.00"; 3]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_deposit_is_there_at_once_and_only_once() {
    for bench in Bench::each().await {
        let me = user();
        let request = api::CreateDepositRequest { request_id: request_id(), amount: amount("100.5", "USD") };
        let first = bench.as_user(&me, bench.service.create_deposit(Request::new(request.clone()))).await.unwrap();
        let again = bench.as_user(&me, bench.service.create_deposit(Request::new(request.clone()))).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(bench.balance(&me, "USD").await, ["100.50", "0.00", "100.50"]);
        let other = api::CreateDepositRequest { amount: amount("7", "USD"), ..request };
        let error = bench.as_user(&me, bench.service.create_deposit(Request::new(other))).await.unwrap_err();
        assert_eq!(error.reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}

#[tokio::test]
async fn a_deposit_that_makes_no_sense_is_refused_with_its_reason() {
    for bench in Bench::each().await {
        let me = user();
        for (value, unit, reason, field) in [
            ("0", "USD", "AMOUNT_OUT_OF_RANGE", "amount.value"),
            ("-5", "USD", "AMOUNT_OUT_OF_RANGE", "amount.value"),
            ("1000000.01", "USD", "AMOUNT_OUT_OF_RANGE", "amount.value"),
            ("0.001", "USD", "SCALE_EXCEEDED", "amount.value"),
            ("1", "BTC", "UNIT_MISMATCH", "amount.unit"),
            ("1", "XXX", "UNIT_MISMATCH", "amount.unit"),
            ("one", "USD", "INVALID_FIELD", "amount.value"),
        ] {
            let request = api::CreateDepositRequest { request_id: request_id(), amount: amount(value, unit) };
            let error = bench.as_user(&me, bench.service.create_deposit(Request::new(request))).await.unwrap_err();
            assert_eq!((error.reason(), error.metadata("field")), (reason, Some(field)), "{value} {unit}");
        }
        bench.deposit(&me, "1000000").await.unwrap();
    }
}

#[tokio::test]
async fn a_withdrawal_is_held_until_the_bank_has_paid_or_refused() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let error = bench.withdraw(&me, "100.01").await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("available")), ("INSUFFICIENT_FUNDS", Some("100.00")));
        let paid = bench.withdraw(&me, "30").await.unwrap();
        let refused = bench.withdraw(&me, "20").await.unwrap();
        assert_eq!(paid.state(), State::Held);
        assert_eq!(bench.balance(&me, "USD").await, ["100.00", "50.00", "50.00"]);
        assert_eq!(settle(&bench, &paid.id, Outcome::Paid).await.unwrap().state(), State::Settled);
        assert_eq!(settle(&bench, &refused.id, Outcome::Refused).await.unwrap().state(), State::Rejected);
        assert_eq!(bench.balance(&me, "USD").await, ["70.00", "0.00", "70.00"]);
        let error = settle(&bench, &paid.id, Outcome::Refused).await.unwrap_err();
        assert_eq!(error.reason(), "INVALID_STATE_TRANSITION");
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn nobody_sees_the_withdrawal_of_someone_else() {
    for bench in Bench::each().await {
        let (me, you) = (user(), user());
        bench.deposit(&me, "10").await.unwrap();
        let id = bench.withdraw(&me, "1").await.unwrap().id;
        let get = |id: &str| Request::new(api::GetWithdrawalRequest { id: id.to_owned() });
        assert!(bench.as_user(&me, bench.service.get_withdrawal(get(&id))).await.is_ok());
        let error = bench.as_user(&you, bench.service.get_withdrawal(get(&id))).await.unwrap_err();
        assert_eq!(error.reason(), "RESOURCE_NOT_FOUND");
        let list = Request::new(api::ListWithdrawalsRequest::default());
        assert!(bench.as_user(&you, bench.service.list_withdrawals(list)).await.unwrap().withdrawals.is_empty());
    }
}

#[tokio::test]
async fn the_demo_bank_pays_when_its_time_has_come() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "10").await.unwrap();
        bench.itself.set(link_as("ledger", bench.service.routes()));
        let id = bench.withdraw(&me, "4").await.unwrap().id;
        let (drain, draining) = Drain::new();
        let bank = tokio::spawn({
            let service = bench.service.clone();
            async move { crate::bank::run(&service, &draining).await }
        });
        let state = async || {
            let get = Request::new(api::GetWithdrawalRequest { id: id.clone() });
            bench.as_user(&me, bench.service.get_withdrawal(get)).await.unwrap().withdrawal.unwrap().state()
        };
        assert_eq!(state().await, State::Held);
        eventually(async || {
            bench.clock.advance(Duration::from_millis(250));
            state().await == State::Settled
        })
        .await;
        drain.start();
        bank.await.unwrap();
        assert_eq!(bench.balance(&me, "USD").await, ["6.00", "0.00", "6.00"]);
    }
}

#[tokio::test]
async fn pages_of_entries_and_withdrawals_have_everything_once_newest_first() {
    for bench in Bench::each().await {
        let me = user();
        for _ in 0..7 {
            bench.deposit(&me, "1").await.unwrap();
            bench.clock.advance(Duration::from_millis(5));
            bench.withdraw(&me, "0.50").await.unwrap();
        }
        let mut sequences = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = api::ListWalletEntriesRequest { page_size: 3, page_token, unit: "USD".to_owned() };
            let reply = bench.as_user(&me, bench.service.list_wallet_entries(Request::new(request))).await.unwrap();
            sequences.extend(reply.entries.iter().map(|entry| entry.sequence));
            page_token = reply.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(sequences, [7, 6, 5, 4, 3, 2, 1]);
        let request = api::ListWithdrawalsRequest { page_size: 5, page_token: String::new() };
        let first = bench.as_user(&me, bench.service.list_withdrawals(Request::new(request))).await.unwrap();
        let request = api::ListWithdrawalsRequest { page_size: 5, page_token: first.next_page_token };
        let token_of_another_list =
            api::ListWalletEntriesRequest { page_token: request.page_token.clone(), ..Default::default() };
        let second = bench.as_user(&me, bench.service.list_withdrawals(Request::new(request))).await.unwrap();
        let ids: Vec<_> = first.withdrawals.iter().chain(&second.withdrawals).map(|w| w.id.clone()).collect();
        assert!(ids.len() == 7 && ids.is_sorted_by(|a, b| a > b) && second.next_page_token.is_empty());
        let other = bench.service.list_wallet_entries(Request::new(token_of_another_list));
        assert_eq!(bench.as_user(&me, other).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn a_portfolio_is_valued_at_the_price_of_the_moment() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "1000").await.unwrap();
        bench.post(trade(&me, "0.01", "-400.40", "0.40")).await.unwrap();
        bench.post(posting(vec![("house/trading", "-2".into(), "ETH"), (&me, "2".into(), "ETH")])).await.unwrap();
        let request = Request::new(api::GetPortfolioRequest {});
        let portfolio = bench.as_user(&me, bench.service.get_portfolio(request)).await.unwrap().portfolio.unwrap();
        let value = |amount: &Option<Amount>| amount.as_ref().map(|amount| amount.value.clone()).unwrap_or_default();
        assert_eq!((value(&portfolio.cash), value(&portfolio.total_value)), ("599.60".into(), "1099.60".into()));
        assert_eq!(portfolio.unpriced_units, ["ETH"]);
        let [bitcoin, ether] = portfolio.positions.as_slice() else { panic!("two positions") };
        assert_eq!(value(&bitcoin.cost), "400.40");
        assert_eq!(value(&bitcoin.market_value), "500.00");
        assert_eq!(value(&bitcoin.unrealized_profit), "99.60");
        assert_eq!((value(&ether.quantity), &ether.market_value), ("2.00".into(), &None));
    }
}

#[tokio::test]
async fn without_the_catalog_there_is_no_portfolio_and_the_reason_says_so() {
    let bench = Bench::over(Database::sqlite(), Links::new()).await;
    let request = Request::new(api::GetPortfolioRequest {});
    let error = bench.as_user(&user(), bench.service.get_portfolio(request)).await.unwrap_err();
    assert_eq!(error.reason(), "DEPENDENCY_UNAVAILABLE");
}
