//! Placing purchases, and what becomes of them by themselves.

use api::order::State;
use contracts::{
    inventory::v1::reservation,
    payment::v1::{Decline, payment},
    r#type::v1::Reason,
};
use tokio::task::JoinSet;

use super::{fakes::Mood, *};

fn quoted_goods(token: &str) -> api::CreateOrderRequest {
    let quote = api::QuotedPurchase { quote_token: token.to_owned() };
    let order = Some(api::create_order_request::Order::QuotedPurchase(quote));
    api::CreateOrderRequest { items: Vec::new(), order, ..items() }
}

#[tokio::test]
async fn a_purchase_is_answered_pending_and_confirmed_by_itself() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let placed = bench.create(&me, items()).await.unwrap();
        assert_eq!((placed.state(), placed.sequence), (State::Pending, 1));
        let order = bench.reaches(&me, &placed.id, State::Confirmed).await;
        let purchase = order.purchase.unwrap();
        assert_eq!((order.sequence, purchase.total), (2, amount("35.00", "USD")));
        assert_eq!(purchase.shipping_address, Some(address()));
        let [reservation] = bench.inventory.reservations().try_into().unwrap();
        assert_eq!((reservation.state(), reservation.expire_time), (reservation::State::Held, None), "it is pinned");
        assert_eq!((reservation.id, reservation.reference), (purchase.reservation_id, order.id.clone()));
        let [paid] = bench.payment.payments().try_into().unwrap();
        assert_eq!((paid.state(), paid.amount), (payment::State::Authorized, amount("35.00", "USD")));
        assert_eq!((paid.id, paid.owner_id), (purchase.payment_id, me));
        let told: Vec<_> = bench.facts().await.into_iter().map(|(number, name)| format!("{number} {name}")).collect();
        assert_eq!(told, ["1 OrderCreated", "2 OrderConfirmed"]);
    }
}

#[tokio::test]
async fn the_address_is_in_no_fact_and_in_no_history_but_its_owner_sees_it() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.buy(&me, MUGS, State::Confirmed).await;
        assert_eq!(bench.written("Utrecht").await, (4, 0));
        bench.cancel(&me, &order.id).await.unwrap();
        bench.reaches(&me, &order.id, State::Cancelled).await;
        let request = Request::new(api::WatchOrderRequest { id: order.id, after_sequence: 1 });
        let stream = answer(user_call(&me), bench.service.watch_order(request)).await.unwrap();
        let seen: Vec<_> = futures::StreamExt::collect::<Vec<_>>(stream).await;
        assert_eq!(seen.len(), 3);
        for message in seen {
            assert_eq!(message.unwrap().order.unwrap().purchase.unwrap().shipping_address, Some(address()));
        }
    }
}

#[tokio::test]
async fn a_purchase_costs_two_commits_and_few_statements() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.buy(&me, MUGS, State::Confirmed).await;
        let before = bench.db.stats();
        let id = bench.create(&me, items()).await.unwrap().id;
        let created = bench.db.stats().statements - before.statements;
        assert!(created <= 6, "{created} statements to create");
        eventually(async || bench.db.stats().units - before.units >= 2).await;
        let (confirmed, units) =
            (bench.db.stats().statements - before.statements, bench.db.stats().units - before.units);
        assert_eq!(units, 2);
        assert!(confirmed - created <= 5, "{} statements to confirm", confirmed - created);
        bench.reaches(&me, &id, State::Confirmed).await;
        let before = bench.db.stats();
        bench.ship(&id, &[]).await.unwrap();
        let shipped = bench.db.stats().statements - before.statements;
        assert!(shipped <= 10, "{shipped} statements to ship");
    }
}

#[tokio::test]
async fn what_is_refused_at_any_step_ends_rejected_with_nothing_held() {
    let refusals =
        [("reserve", Reason::OutOfStock), ("authorize", Reason::PaymentDeclined), ("pin", Reason::ReservationExpired)];
    for bench in Bench::each_patient().await {
        for (rpc, reason) in refusals {
            let me = user();
            let error = Error::new(reason, "No.");
            for moods in [&bench.inventory.moods, &bench.payment.moods] {
                moods.set(rpc, Mood::Refusing(error.clone()));
            }
            let order = bench.buy(&me, MUGS, State::Rejected).await;
            let expected = api::Rejection { reason: error.reason().to_owned(), message: "No.".to_owned() };
            assert_eq!((order.rejection, order.sequence), (Some(expected), 3), "{rpc}");
            bench.assert_nothing_is_held();
            for moods in [&bench.inventory.moods, &bench.payment.moods] {
                moods.set(rpc, Mood::Well);
            }
        }
    }
}

#[tokio::test]
async fn a_payment_that_fails_later_rejects_with_what_the_provider_said() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::Processing, "");
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        assert_eq!(bench.saga(&id).await.last_error.unwrap().reason, "PAYMENT_PROCESSING");
        bench.payment.move_all(payment::State::Failed);
        bench.payment.decline(Decline { code: "card_declined".into(), message: "Use another card.".into() });
        bench.recover().await;
        let rejection = bench.reaches(&me, &id, State::Rejected).await.rejection.unwrap();
        let said = "Use another card. Decline code: `card_declined`.";
        assert_eq!((rejection.reason.as_str(), rejection.message.as_str()), ("PAYMENT_DECLINED", said));
        bench.assert_nothing_is_held();
    }
}

#[tokio::test]
async fn a_buyer_who_must_confirm_the_payment_sees_where_and_has_longer() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::RequiresAction, "https://bank.test/1");
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        let order = bench.get(&me, &id).await.unwrap();
        assert_eq!((order.state(), order.sequence), (State::Pending, 2));
        assert_eq!(order.purchase.unwrap().action_url, "https://bank.test/1");
        assert_eq!(bench.written("bank.test").await, (4, 0), "whoever knows it could confirm the payment");
        let request = Request::new(api::WatchOrderRequest { id: id.clone(), after_sequence: 1 });
        let mut stream = answer(user_call(&me), bench.service.watch_order(request)).await.unwrap();
        let seen = futures::StreamExt::next(&mut stream).await.unwrap().unwrap().order.unwrap();
        assert_eq!(seen.purchase.unwrap().action_url, "https://bank.test/1");
        drop(stream);
        assert_eq!(bench.inventory.moods.calls("extend"), 1);
        assert_eq!(bench.facts().await.last().unwrap(), &(2, "OrderUpdated".to_owned()));
        // Longer than it would have without.
        bench.clock.advance(Duration::from_secs(20 * 60));
        runner::reconcile_once(&bench.service).await.unwrap();
        assert_eq!(bench.get(&me, &id).await.unwrap().state(), State::Pending);
        bench.payment.move_all(payment::State::Authorized);
        bench.recover().await;
        let order = bench.reaches(&me, &id, State::Confirmed).await;
        assert_eq!((order.sequence, order.purchase.unwrap().action_url.as_str()), (3, ""));
    }
}

#[tokio::test]
async fn a_buyer_who_never_confirms_the_payment_is_rejected_with_that_reason() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::RequiresAction, "https://bank.test/1");
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        bench.clock.advance(Duration::from_secs(30 * 60));
        bench.recover().await;
        let order = bench.reaches(&me, &id, State::Rejected).await;
        assert_eq!(order.rejection.unwrap().reason, "PAYMENT_ACTION_REQUIRED");
        assert!(order.purchase.unwrap().action_url.is_empty());
        bench.assert_nothing_is_held();
        let request = Request::new(api::ListOrderChangesRequest { id, after_sequence: 0 });
        let changes = answer(user_call(&me), bench.service.list_order_changes(request)).await.unwrap().changes;
        let moves: Vec<_> = changes.iter().map(|change| (change.sequence, change.to_state())).collect();
        let pending = State::Pending;
        assert_eq!(moves, [(1, pending), (2, pending), (3, pending), (4, State::Rejected)]);
    }
}

#[tokio::test]
async fn a_fact_of_payment_wakes_the_order_that_waits() {
    use contracts::payment::v1::{Payment, PaymentSuccess, payment_event};
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::Processing, "");
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        bench.payment.move_all(payment::State::Authorized);
        let far = "UPDATE orders SET lease_until = lease_until + 3600000000";
        bench.db.write(async |unit: &mut storage::Unit| unit.exec(far, &[]).await).await.unwrap();
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0);
        let card = kit::id::new("pmt", Timestamp::from_seconds(1));
        let payment = Payment { order_id: id.clone(), payment_method_id: card, ..Default::default() };
        bench.hear(payment, payment_event::Event::PaymentSuccess(PaymentSuccess {})).await;
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 1);
        assert_eq!(bench.get(&me, &id).await.unwrap().state(), State::Confirmed);
    }
}

#[tokio::test]
async fn downloads_are_delivered_and_charged_at_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.buy(&me, &[("book", true, 1, 1_000)], State::Fulfilled).await;
        assert!(bench.inventory.reservations().is_empty() && order.purchase.unwrap().reservation_id.is_empty());
        assert_eq!(bench.payment.captured(), 1_000);
        let request = Request::new(api::ListShipmentsRequest { order_id: order.id });
        let shipments = answer(user_call(&me), bench.service.list_shipments(request)).await.unwrap().shipments;
        assert_eq!((shipments.len(), shipments[0].state()), (1, api::shipment::State::Delivered));

        let order = bench.buy(&me, MUGS_AND_BOOK, State::PartiallyFulfilled).await;
        assert_eq!(order.purchase.unwrap().captured, amount("10.00", "USD"));
        bench.ship(&order.id, &[]).await.unwrap();
        let order = bench.get(&me, &order.id).await.unwrap();
        assert_eq!((order.state(), order.purchase.unwrap().captured), (State::Fulfilled, amount("45.00", "USD")));
    }
}

#[tokio::test]
async fn goods_are_set_aside_for_longer_than_there_is_time_to_confirm_the_order() {
    for database in storage::testing::each_database().await {
        let settings = Settings { carry_out_within: Duration::from_secs(60 * 60), ..Settings::default() };
        let bench = Bench::with(database, settings).await;
        bench.buy(&user(), MUGS, State::Confirmed).await;
        assert!(bench.inventory.lifetime() > 60 * 60, "{} seconds", bench.inventory.lifetime());
    }
}

#[tokio::test]
async fn what_costs_nothing_asks_nobody_for_money() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.buy(&me, &[("leaflet", true, 1, 0)], State::Fulfilled).await;
        assert!(order.purchase.unwrap().payment_id.is_empty() && bench.payment.payments().is_empty());
    }
}

#[tokio::test]
async fn a_bad_request_for_goods_is_refused_with_the_field() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let both = api::CreateOrderRequest { items: vec![pieces("mug", 1)], ..quoted_goods("a") };
        let trade = api::CreateOrderRequest { items: vec![pieces("mug", 1)], ..market_buy() };
        let stranger = api::CreateOrderRequest { customer_id: user(), ..items() };
        let homeless = api::CreateOrderRequest { shipping_address: None, ..items() };
        let coupon = api::CreateOrderRequest { promotion_code: "SPRING".to_owned(), ..quoted_goods("a") };
        let nothing = api::CreateOrderRequest { items: Vec::new(), ..items() };
        for request in [both, trade, stranger, homeless, coupon, nothing] {
            assert_eq!(bench.create(&me, request).await.unwrap_err().reason(), "INVALID_FIELD");
        }
        assert!(bench.states(&me).await.is_empty());
        let mine = api::CreateOrderRequest { customer_id: me.clone(), ..items() };
        assert!(bench.create(&me, mine).await.is_ok());
    }
}

#[tokio::test]
async fn what_the_catalog_says_of_a_basket_names_the_fields_of_the_order() {
    for bench in Bench::each_patient().await {
        for (of_basket, of_order) in [
            ("basket.promotion_code", "promotion_code"),
            ("basket.country_code", "shipping_address.country_code"),
            ("basket.currency", "currency"),
            ("basket.items[0].quantity", "items[0].quantity"),
        ] {
            let refusal = |field: &str| {
                let error = Error::new(Reason::InvalidField, format!("`{field}` is wrong. Correct the basket."));
                error.with("field", field).violation(field, "is wrong").domain("catalog.agora")
            };
            bench.catalog.refuse(refusal(of_basket).violation("basket.items", "must not be empty"));
            let refused = bench.create(&user(), items()).await.unwrap_err();
            assert_eq!(refused, refusal(of_order).violation("items", "must not be empty"));
        }
        let busy = Error::new(Reason::Overloaded, "Come back later.")
            .retry_after(Duration::from_secs(2))
            .domain("catalog.agora");
        bench.catalog.refuse(busy.clone());
        assert_eq!(bench.create(&user(), items()).await.unwrap_err(), busy);
    }
}

#[tokio::test]
async fn the_quote_of_a_purchase_serves_one_order_and_a_repeat_survives_its_end() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let request = quoted_goods("a quote");
        let order = bench.create(&me, request.clone()).await.unwrap();
        assert_eq!(bench.create(&me, quoted_goods("a quote")).await.unwrap_err().reason(), "QUOTE_INVALID");
        bench.catalog.refuse(Error::new(Reason::QuoteExpired, "Ask for a new one."));
        assert_eq!(bench.create(&me, request).await.unwrap(), order);
        assert_eq!(bench.create(&me, quoted_goods("another")).await.unwrap_err().reason(), "QUOTE_EXPIRED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_purchases_are_one_order() {
    for bench in Bench::each_patient().await {
        let bench = Arc::new(bench);
        let (me, request) = (user(), items());
        bench.catalog.sell(basket(MUGS));
        let mut callers = JoinSet::new();
        for _ in 0..50 {
            let (bench, me, request) = (bench.clone(), me.clone(), request.clone());
            callers.spawn(async move { bench.create(&me, request).await });
        }
        let mut orders = Vec::new();
        for outcome in callers.join_all().await {
            match outcome {
                Ok(order) => orders.push(order),
                Err(error) => assert_eq!(error.reason(), "REQUEST_IN_PROGRESS"),
            }
        }
        assert!(!orders.is_empty() && orders.iter().all(|order| *order == orders[0]));
        bench.reaches(&me, &orders[0].id, State::Confirmed).await;
        assert_eq!((bench.states(&me).await.len(), bench.inventory.reservations().len()), (1, 1));
    }
}
