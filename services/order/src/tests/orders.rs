//! Placing, reading and listing.

use api::order::State;
use contracts::r#type::v1::Reason;

use super::{fakes::Mood, *};

#[tokio::test]
async fn an_order_answers_as_it_ended_and_tells_so_in_order() {
    for bench in Bench::each().await {
        let me = user();
        let order = bench.create(&me, market_buy()).await.unwrap();
        assert_eq!((order.state(), order.sequence), (State::Fulfilled, 2));
        let [posted] = bench.ledger.transactions().try_into().unwrap();
        assert_eq!((posted.id, posted.reference), (order.trade.clone().unwrap().transaction_id, order.id.clone()));
        assert_eq!(bench.get(&me, &order.id).await.unwrap(), order);
        let told: Vec<_> = bench.facts().await.into_iter().map(|(number, name)| format!("{number} {name}")).collect();
        assert_eq!(told, ["1 OrderCreated", "2 TradeExecuted", "3 OrderFulfilled"]);
        let request = Request::new(api::ListOrderChangesRequest { id: order.id, after_sequence: 0 });
        let changes = answer(user_call(&me), bench.service.list_order_changes(request)).await.unwrap().changes;
        let moves: Vec<_> = changes.iter().map(|c| (c.sequence, c.from_state(), c.to_state())).collect();
        let expected = [(1, State::Unspecified, State::Pending), (2, State::Pending, State::Fulfilled)];
        assert_eq!(moves, expected);
    }
}

#[tokio::test]
async fn what_the_ledger_refuses_ends_rejected_with_the_reason() {
    for bench in Bench::each().await {
        let me = user();
        bench.ledger.set(Mood::Refusing(Error::new(Reason::InsufficientFunds, "Deposit more.")));
        let request = market_buy();
        let order = bench.create(&me, request.clone()).await.unwrap();
        assert_eq!((order.state(), bench.ledger.calls()), (State::Rejected, 1));
        let expected = api::Rejection { reason: "INSUFFICIENT_FUNDS".into(), message: "Deposit more.".into() };
        assert_eq!(order.rejection, Some(expected));
        assert_eq!(bench.facts().await.last().unwrap(), &(2, "OrderRejected".to_owned()));
        bench.ledger.set(Mood::Well);
        assert_eq!(bench.create(&me, request).await.unwrap(), order);
    }
}

#[tokio::test]
async fn what_the_catalog_refuses_is_no_order() {
    for bench in Bench::each().await {
        let me = user();
        bench.catalog.refuse(Error::new(Reason::SlippageExceeded, "Ask for a new quote."));
        let error = bench.create(&me, quoted("a quote")).await.unwrap_err();
        assert_eq!(error.reason(), "SLIPPAGE_EXCEEDED");
        assert!(bench.states(&me).await.is_empty());
        assert_eq!(bench.ledger.calls(), 0);
    }
}

#[tokio::test]
async fn a_repeat_gets_its_reply_even_if_the_quote_has_expired_since() {
    for bench in Bench::each().await {
        let me = user();
        let request = quoted("a quote");
        let order = bench.create(&me, request.clone()).await.unwrap();
        bench.catalog.refuse(Error::new(Reason::QuoteExpired, "Ask for a new one."));
        assert_eq!(bench.create(&me, request).await.unwrap(), order);
        assert_eq!(bench.ledger.calls(), 1);
    }
}

#[tokio::test]
async fn a_quote_serves_one_order() {
    for bench in Bench::each().await {
        let me = user();
        bench.create(&me, quoted("a quote")).await.unwrap();
        let error = bench.create(&me, quoted("a quote")).await.unwrap_err();
        assert_eq!(error.reason(), "QUOTE_INVALID");
        bench.create(&me, quoted("another quote")).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_sees_the_order_of_someone_else_but_support_does() {
    for bench in Bench::each().await {
        let (me, you) = (user(), user());
        let id = bench.create(&me, market_buy()).await.unwrap().id;
        assert_eq!(bench.get(&you, &id).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        assert!(bench.states(&you).await.is_empty());
        let support = Call { scope: Some(Scope::All), ..user_call(&you) };
        assert_eq!(bench.list(support.clone(), api::ListOrdersRequest::default()).await.unwrap().orders.len(), 1);
        bench.create(&you, market_buy()).await.unwrap();
        let of_me = api::ListOrdersRequest { owner_id: me.clone(), ..Default::default() };
        for (call, found) in [(support, 1), (user_call(&me), 1), (user_call(&you), 0)] {
            let orders = bench.list(call, of_me.clone()).await.unwrap().orders;
            assert!(orders.len() == found && orders.iter().all(|order| order.id == id), "{orders:?}");
        }
    }
}

#[tokio::test]
async fn pages_have_every_order_once_the_newest_first() {
    for bench in Bench::each().await {
        let me = user();
        for number in 0..5 {
            bench.ledger.set(match number {
                0 => Mood::Refusing(Error::new(Reason::InsufficientFunds, "Deposit more.")),
                _ => Mood::Well,
            });
            bench.create(&me, market_buy()).await.unwrap();
            bench.clock.advance(Duration::from_millis(5));
        }
        let page = |page_token: String| api::ListOrdersRequest { page_size: 3, page_token, ..Default::default() };
        let first = bench.list(user_call(&me), page(String::new())).await.unwrap();
        let second = bench.list(user_call(&me), page(first.next_page_token.clone())).await.unwrap();
        let ids: Vec<_> = first.orders.iter().chain(&second.orders).map(|order| order.id.clone()).collect();
        assert!(ids.len() == 5 && ids.is_sorted_by(|a, b| a > b) && second.next_page_token.is_empty());
        let rejected = api::ListOrdersRequest { state: State::Rejected.into(), ..Default::default() };
        assert_eq!(bench.list(user_call(&me), rejected.clone()).await.unwrap().orders.len(), 1);
        let other = api::ListOrdersRequest { page_token: first.next_page_token, ..rejected };
        assert_eq!(bench.list(user_call(&me), other).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn the_page_of_an_earlier_build_goes_on_and_that_of_one_customer_does_not_serve_another() {
    for bench in Bench::each().await {
        let (me, you) = (user(), user());
        for owner in [&me, &me, &you, &you] {
            bench.create(owner, market_buy()).await.unwrap();
            bench.clock.advance(Duration::from_millis(5));
        }
        let newest = bench.list(user_call(&me), api::ListOrdersRequest::default()).await.unwrap().orders.remove(0).id;
        let page_token = bench.service.0.tokens.encode(&format!("orders of {me} in 0"), &[newest]);
        let rest = api::ListOrdersRequest { page_token, ..Default::default() };
        assert_eq!(bench.list(user_call(&me), rest).await.unwrap().orders.len(), 1);
        let of =
            |owner: &str| api::ListOrdersRequest { owner_id: owner.to_owned(), page_size: 1, ..Default::default() };
        let page_token = bench.list(admin_call(), of(&me)).await.unwrap().next_page_token;
        let mine = api::ListOrdersRequest { page_token: page_token.clone(), ..of(&me) };
        assert_eq!(bench.list(admin_call(), mine).await.unwrap().orders.len(), 1);
        let refused = bench.list(admin_call(), api::ListOrdersRequest { page_token, ..of(&you) }).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn a_trade_costs_two_commits_and_a_constant_number_of_statements() {
    for bench in Bench::each().await {
        let me = user();
        bench.create(&me, market_buy()).await.unwrap();
        let before = bench.db.stats();
        bench.create(&me, market_buy()).await.unwrap();
        let after = bench.db.stats();
        assert_eq!(after.commits - before.commits, 2);
        let statements = after.statements - before.statements;
        assert!(statements <= 9, "{statements} statements");
    }
}
