//! Shipments.

use api::{order::State, shipment::State as Stands};

use contracts::payment::v1::payment;

use super::*;

async fn deliver(bench: &Bench, id: &str) -> Result<api::Shipment, Error> {
    let request = api::DeliverShipmentRequest { request_id: request_id(), id: id.to_owned() };
    Ok(answer(admin_call(), bench.service.deliver_shipment(Request::new(request))).await?.shipment.unwrap())
}

#[tokio::test]
async fn parcels_are_charged_as_they_leave_and_the_last_lets_the_rest_go() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let first = bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        assert_eq!((first.state(), first.amount.clone()), (Stands::Shipped, amount("14.99", "USD")));
        assert_eq!((first.carrier.as_str(), first.order_id.as_str()), ("Snail", id.as_str()));
        let order = bench.get(&me, &id).await.unwrap();
        assert_eq!(
            (order.state(), order.purchase.unwrap().captured),
            (State::PartiallyFulfilled, first.amount.clone())
        );
        let last = bench.ship(&id, &[]).await.unwrap();
        assert_eq!((last.amount.clone(), last.lines.clone()), (amount("20.01", "USD"), vec![pieces("mug", 2)]));
        let order = bench.get(&me, &id).await.unwrap();
        assert_eq!((order.state(), order.purchase.unwrap().captured), (State::Fulfilled, amount("35.00", "USD")));
        assert_eq!((bench.payment.captured(), bench.inventory.shipped()), (3_500, 3));
        bench.assert_nothing_is_held();
        let told: Vec<_> = bench.facts().await.into_iter().map(|(_, name)| name).collect();
        assert_eq!(told, ["OrderCreated", "OrderConfirmed", "OrderPartiallyFulfilled", "OrderFulfilled"]);

        let request = Request::new(api::ListShipmentsRequest { order_id: id.clone() });
        let listed = answer(user_call(&me), bench.service.list_shipments(request)).await.unwrap().shipments;
        assert_eq!(listed.len(), 2);
        let request = || Request::new(api::GetShipmentRequest { id: first.id.clone() });
        assert!(
            listed.contains(
                &answer(user_call(&me), bench.service.get_shipment(request())).await.unwrap().shipment.unwrap()
            )
        );
        let stranger = answer(user_call(&user()), bench.service.get_shipment(request())).await.unwrap_err();
        assert_eq!(stranger.reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn more_than_is_left_is_not_shipped_nor_what_is_not_confirmed() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        assert_eq!(bench.ship(&id, &[pieces("mug", 4)]).await.unwrap_err().reason(), "QUANTITY_LIMIT");
        assert_eq!(bench.ship(&id, &[pieces("cup", 1)]).await.unwrap_err().reason(), "INVALID_FIELD");
        bench.ship(&id, &[]).await.unwrap();
        assert_eq!(bench.ship(&id, &[]).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        let trade = bench.create(&me, market_buy()).await.unwrap().id;
        assert_eq!(bench.ship(&trade, &[]).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        let nowhere = kit::id::new("ord", Timestamp::from_seconds(1));
        assert_eq!(bench.ship(&nowhere, &[]).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_ship_the_same_pieces_ship_them_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        for round in 1..=10 {
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            let (one, two) = tokio::join!(bench.ship(&id, &[]), bench.ship(&id, &[]));
            assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
            bench.reaches(&me, &id, State::Fulfilled).await;
            assert_eq!((bench.payment.captured(), bench.inventory.shipped()), (3_500 * round, 3 * round));
        }
    }
}

#[tokio::test]
async fn a_repeat_under_the_same_key_gets_the_same_shipment() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let lines = vec![pieces("mug", 1)];
        let request =
            api::CreateShipmentRequest { request_id: request_id(), order_id: id, lines, ..Default::default() };
        let first = bench.create_shipment(request.clone()).await.unwrap();
        assert_eq!(bench.create_shipment(request).await.unwrap(), first);
        assert_eq!(bench.inventory.shipped(), 1);
    }
}

#[tokio::test]
async fn what_has_left_arrives_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let shipment = bench.ship(&id, &[]).await.unwrap();
        let delivered = deliver(&bench, &shipment.id).await.unwrap();
        assert_eq!((delivered.state(), delivered.deliver_time.is_some()), (Stands::Delivered, true));
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(deliver(&bench, &shipment.id).await.unwrap(), delivered);
    }
}

#[tokio::test]
async fn an_order_is_completed_when_the_time_to_return_goods_is_over() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[]).await.unwrap();
        assert_eq!(closing::work(&bench.service).await.unwrap(), 0);
        bench.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
        assert_eq!(closing::work(&bench.service).await.unwrap(), 1);
        assert_eq!(bench.get(&me, &id).await.unwrap().state(), State::Completed);
        assert_eq!(bench.facts().await.last().unwrap().1, "OrderCompleted");
        assert_eq!(closing::work(&bench.service).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn the_warehouse_of_a_demo_ships_and_delivers_after_its_delay() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let work =
            || kit::call::run(Call::background("order", Duration::from_secs(60)), warehouse::work_once(&bench.service));
        assert_eq!(work().await.unwrap(), 0, "it is packing");
        bench.clock.advance(Duration::from_secs(2));
        assert_eq!(work().await.unwrap(), 1);
        bench.reaches(&me, &id, State::Fulfilled).await;
        bench.clock.advance(Duration::from_secs(2));
        assert_eq!(work().await.unwrap(), 1);
        assert_eq!(work().await.unwrap(), 0);
        let request = Request::new(api::ListShipmentsRequest { order_id: id });
        let listed = answer(user_call(&me), bench.service.list_shipments(request)).await.unwrap().shipments;
        assert_eq!((listed.len(), listed[0].state()), (1, Stands::Delivered));
    }
}

#[tokio::test]
async fn the_warehouse_of_a_demo_is_as_fast_as_orders_come_whatever_the_clock_says() {
    for database in storage::testing::each_database().await {
        // No delay, and a clock that stands: whatever waits for time to go by waits for ever.
        let bench = Bench::with(database, Settings { ship_delay: Duration::ZERO, ..Settings::default() }).await;
        let me = user();
        let mut placed = Vec::new();
        for _ in 0..40 {
            placed.push(bench.buy(&me, MUGS, State::Confirmed).await.id);
        }
        let (drain, draining) = kit::drain::Drain::new();
        let service = bench.service.clone();
        let warehouse = tokio::spawn(async move { warehouse::run(&service, &draining).await });
        for id in &placed {
            bench.reaches(&me, id, State::Fulfilled).await;
        }
        let id = bench.buy(&me, MUGS, State::Fulfilled).await.id;
        eventually(async || {
            let request = Request::new(api::ListShipmentsRequest { order_id: id.clone() });
            let listed = answer(user_call(&me), bench.service.list_shipments(request)).await.unwrap().shipments;
            listed.len() == 1 && listed[0].state() == Stands::Delivered
        })
        .await;
        drain.start();
        warehouse.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_leaves_whose_money_is_gone() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.payment.move_all(payment::State::Failed);
        let request =
            api::CreateShipmentRequest { request_id: request_id(), order_id: id.clone(), ..Default::default() };
        let shipment = bench.create_shipment(request.clone()).await.unwrap();
        assert_eq!((shipment.state(), bench.inventory.shipped()), (Stands::Cancelled, 0));
        assert_eq!(bench.create_shipment(request).await.unwrap(), shipment, "a repeat");
        let line = bench.reaches(&me, &id, State::Cancelled).await.purchase.unwrap().lines[0].clone();
        assert_eq!((line.shipped, line.cancelled), (0, 3));
        bench.assert_nothing_is_held();
    }
}

#[tokio::test]
async fn what_was_shipped_stays_shipped_when_the_money_for_the_rest_is_gone() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        // What is held for too long is let go, and what was taken stays taken.
        bench.payment.move_all(payment::State::Captured);
        assert_eq!(bench.ship(&id, &[pieces("mug", 1)]).await.unwrap().state(), Stands::Cancelled);
        let order = bench.reaches(&me, &id, State::Fulfilled).await;
        assert_eq!(order.rejection.unwrap().reason, "HOLD_EXPIRED", "it says why the rest was undone");
        let purchase = order.purchase.unwrap();
        assert_eq!((purchase.lines[0].shipped, purchase.lines[0].cancelled), (1, 2));
        assert_eq!((purchase.captured, bench.inventory.shipped()), (amount("14.99", "USD"), 1));
        bench.assert_nothing_is_held();
    }
}

#[tokio::test]
async fn goods_leave_for_money_that_a_provider_took_at_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::Captured, "");
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.payment.take_all();
        assert_eq!(bench.ship(&id, &[]).await.unwrap().state(), Stands::Shipped);
        bench.reaches(&me, &id, State::Fulfilled).await;
        assert_eq!((bench.payment.captured(), bench.inventory.shipped()), (3_500, 3));
    }
}

#[tokio::test]
async fn an_order_is_undone_when_its_payment_ends_before_it_is_shipped() {
    use contracts::payment::v1::{PaymentFailed, PaymentVoided, payment_event::Event};
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let [mut paid] = bench.payment.payments().try_into().unwrap();
        let stranger = contracts::payment::v1::Payment { id: "pay_1".to_owned(), ..paid.clone() };
        bench.hear(stranger, Event::PaymentFailed(PaymentFailed::default())).await;
        assert_eq!(bench.get(&me, &id).await.unwrap().state(), State::Confirmed, "it is another payment");
        bench.payment.move_all(payment::State::Failed);
        paid.state = payment::State::Failed.into();
        for _ in 0..2 {
            bench.hear(paid.clone(), Event::PaymentFailed(PaymentFailed::default())).await;
        }
        bench.recover().await;
        bench.reaches(&me, &id, State::Cancelled).await;

        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        let paid = bench.payment.payments().into_iter().find(|paid| paid.order_id == id).unwrap();
        bench.hear(paid, Event::PaymentVoided(PaymentVoided {})).await;
        bench.recover().await;
        let purchase = bench.reaches(&me, &id, State::Fulfilled).await.purchase.unwrap();
        assert_eq!((purchase.lines[0].shipped, purchase.lines[0].cancelled), (1, 2));
        bench.assert_nothing_is_held();
    }
}
