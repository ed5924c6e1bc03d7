//! SIGKILL at each point of a purchase's way, and while it is undone or given back: after a restart nothing is lost,
//! nothing happens twice, and every saga ends.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::{Client, Refused},
    facts::every_fact_is_told_once,
    mortal::Mortal,
    people::{Person, atoms, text},
    platform::{Patience, Shape, eventually, key},
    points::{self, Way},
    repeats::once,
    shop::{Good, address, cards, invariants_hold},
};

/// The demo warehouse ships at once what is confirmed.
const SHIPPING: [(&str, &str); 2] = [("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")];

/// How long a request is repeated.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &SHIPPING).await?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 1000).await?;
    let person = Person::with_money(&client, "10000").await?;
    let approved = person.card(cards::APPROVED).await?["id"].clone();
    let asks_back = person.card(cards::NEEDS_ACTION).await?["id"].clone();
    let ways = [(Way::Wallet, json!("")), (Way::Card, approved), (Way::Confirmed, asks_back)];
    let (mut paid, mut done) = (0, 0);
    for (way, method) in ways {
        for point in points::on(way) {
            let request = json!({
                "requestId": key(), "items": [good.times(1)], "shippingAddress": address(), "paymentMethodId": method,
            });
            let (caller, first) = (person.on(&mortal.client()?), request.clone());
            mortal.die_at(point, async move { bought(&caller, &first, way).await }).await?;
            let caller = person.on(&mortal.client()?);
            let order = bought(&caller, &request, way).await;
            let order = caller.until(&order["id"], "STATE_FULFILLED").await;
            let payment = caller.payment(&order["purchase"]["paymentId"]).await?;
            assert_eq!(payment["captured"], order["purchase"]["total"], "{point}: {payment}");
            if way == Way::Wallet {
                paid += atoms(text(&order["purchase"]["total"]["value"]), 2);
            }
            done += 1;
            let left = atoms(&caller.available("USD").await?, 2);
            assert_eq!(left, 1_000_000 - paid, "{point}: charged once");
            assert_eq!(good.available(&caller.client).await?, 1000 - done, "{point}: shipped once");
        }
    }
    let client = mortal.client()?;
    let listed = person.on(&client).call("order.v1.OrderService/ListOrders", json!({"pageSize": 200})).await?;
    assert_eq!(i64::try_from(listed["orders"].as_array().unwrap().len())?, done, "one order per request");
    invariants_hold(&client).await?;
    every_fact_is_told_once(&mortal.platform).await
}

/// Orders, and confirms the payment if the buyer has to; repeats what is not answered.
async fn bought(caller: &Person, request: &Value, way: Way) -> Value {
    let order = answered(caller, "order.v1.OrderService/CreateOrder", request).await["order"].clone();
    if way == Way::Confirmed {
        let patience = Patience::of(PATIENCE);
        let id = loop {
            match caller.order(&order["id"]).await {
                Ok(shown) if shown["purchase"]["actionUrl"] != "" || shown["state"] != "STATE_PENDING" => {
                    break shown["purchase"]["paymentId"].clone();
                }
                _ => patience.pause("the buyer is asked to confirm").await,
            }
        };
        let confirm = json!({"requestId": request["requestId"], "id": id});
        answered(caller, "payment.v1.PaymentService/ConfirmPayment", &confirm).await;
    }
    order
}

/// Repeats a request until it is answered.
async fn answered(caller: &Person, rpc: &str, request: &Value) -> Value {
    let patience = Patience::of(PATIENCE);
    loop {
        match caller.call(rpc, request.clone()).await {
            Ok(reply) => return reply,
            Err(refusal) if transient(&refusal) => patience.pause(&format!("{rpc} is answered")).await,
            Err(refusal) => panic!("{rpc}: {refusal}"),
        }
    }
}

/// Whether nothing is known of what became of a request, so that it is repeated.
pub fn transient(refusal: &Refused) -> bool {
    // Cancelled: the connection ended under the request.
    use tonic::Code::{Aborted, Cancelled, DeadlineExceeded, Unavailable, Unknown};
    matches!(refusal.code, Aborted | Cancelled | DeadlineExceeded | Unavailable | Unknown)
}

/// Undoing is as much a way as buying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_order_survives_a_kill_at_every_point_of_its_way_back() -> Result<()> {
    // Time enough to cancel before the provider is asked again.
    let mut mortal = Mortal::start(Shape::Meshed, &[("AGORA_RECONCILE_AFTER", "1s")]).await?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 10).await?;
    let person = Person::with_money(&client, "1000").await?;
    let approved = person.card(cards::APPROVED).await?["id"].clone();
    let unheard = person.card(cards::LOST_REQUEST).await?["id"].clone();
    let ways = [(Way::Cancelled, json!("")), (Way::CancelledByCard, approved), (Way::CancelledUnheard, unheard)];
    for (way, method) in ways {
        for point in points::on(way) {
            let caller = person.on(&mortal.client()?);
            let order = caller.buy_with(&[good.times(1)], json!({"paymentMethodId": method})).await?;
            match way {
                Way::CancelledUnheard => asked_in_vain(&caller, &order["purchase"]["paymentId"]).await,
                _ => drop(caller.until(&order["id"], "STATE_CONFIRMED").await),
            }
            let cancel = json!({"requestId": key(), "id": order["id"]});
            let first = cancel.clone();
            let work = async move { answered(&caller, "order.v1.OrderService/CancelOrder", &first).await };
            mortal.die_at(point, work).await?;
            let caller = person.on(&mortal.client()?);
            answered(&caller, "order.v1.OrderService/CancelOrder", &cancel).await;
            caller.until(&order["id"], "STATE_CANCELLED").await;
            let payment = caller.payment(&order["purchase"]["paymentId"]).await?;
            assert_eq!(payment["captured"]["value"], "0.00", "{point}: {payment}");
            assert_eq!(caller.available("USD").await?, "1000.00", "{point}: the money is back");
            assert_eq!(good.available(&caller.client).await?, 10, "{point}: the goods are back");
        }
    }
    invariants_hold(&mortal.client()?).await?;
    every_fact_is_told_once(&mortal.platform).await
}

/// Waits until the provider was asked and has not heard it.
async fn asked_in_vain(caller: &Person, payment: &Value) {
    eventually("the provider was asked", async || {
        let payment = caller.payment(payment).await.ok()?;
        (payment["state"] == "STATE_PROCESSING").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &[]).await?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 10).await?;
    let person = Person::with_money(&client, "1000").await?;
    for point in points::on(Way::Returned) {
        returned_over_a_kill(&mut mortal, &person, &good, point).await?;
    }
    invariants_hold(&mortal.client()?).await?;
    every_fact_is_told_once(&mortal.platform).await
}

async fn returned_over_a_kill(mortal: &mut Mortal, person: &Person, good: &Good, point: &str) -> Result<()> {
    let client = mortal.client()?;
    let (caller, admin) = (person.on(&client), Person::admin(&client).await?);
    let before = atoms(&caller.available("USD").await?, 2);
    let order = caller.buy(&[good.times(1)]).await?;
    caller.until(&order["id"], "STATE_CONFIRMED").await;
    admin.ship(&order["id"], &[]).await?;
    let order = caller.until(&order["id"], "STATE_FULFILLED").await;
    let request = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let announced = caller.call("order.v1.FulfillmentService/CreateReturn", request).await?["return"].clone();
    let receive = json!({"requestId": key(), "id": announced["id"], "restock": true});
    let (merchant, first) = (admin.clone(), receive.clone());
    let work = async move { answered(&merchant, "order.v1.FulfillmentService/ReceiveReturn", &first).await };
    mortal.die_at(point, work).await?;

    let client = mortal.client()?;
    let (caller, admin) = (person.on(&client), Person::admin(&client).await?);
    answered(&admin, "order.v1.FulfillmentService/ReceiveReturn", &receive).await;
    eventually("the return is refunded", async || {
        let shown = caller.call("order.v1.FulfillmentService/GetReturn", json!({"id": announced["id"]})).await.ok()?;
        (shown["return"]["state"] == "STATE_REFUNDED").then_some(())
    })
    .await;
    let paid = atoms(text(&order["purchase"]["total"]["value"]), 2);
    let line = atoms(text(&order["purchase"]["lines"][0]["total"]["value"]), 2);
    assert_eq!(atoms(&caller.available("USD").await?, 2), before - paid + line, "{point}: refunded once");
    assert_eq!(good.available(&client).await?, 10, "{point}: restocked once");
    Ok(())
}

/// T-STUCK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_that_is_given_up_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &[]).await?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 10).await?;
    let person = Person::register(&client).await?;
    let half_secured = person.card(cards::HALF_SECURED).await?["id"].clone();
    for point in points::on(Way::GivenUp) {
        let client = mortal.client()?;
        let (caller, admin) = (person.on(&client), Person::admin(&client).await?);
        let order = caller.buy_with(&[good.times(1)], json!({"paymentMethodId": half_secured})).await?;
        caller.until(&order["id"], "STATE_CONFIRMED").await;
        let shipment = admin.ship(&order["id"], &[]).await?;
        let request =
            json!({"requestId": key(), "id": shipment["id"], "reason": "The card is no good.", "restock": true});
        let (operator, first) = (admin.clone(), request.clone());
        let work = async move { answered(&operator, "order.v1.FulfillmentService/CancelShipment", &first).await };
        mortal.die_at(point, work).await?;

        let client = mortal.client()?;
        let (caller, admin) = (person.on(&client), Person::admin(&client).await?);
        answered(&admin, "order.v1.FulfillmentService/CancelShipment", &request).await;
        let order = caller.until(&order["id"], "STATE_CANCELLED").await;
        assert_eq!(order["purchase"]["captured"]["value"], "0.00", "{point}: {order}");
        assert_eq!(good.available(&client).await?, 10, "{point}: restocked once");
    }
    invariants_hold(&mortal.client()?).await?;
    every_fact_is_told_once(&mortal.platform).await
}

/// T-IDEM: the process dies while a key is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_over_a_crash_are_one_order() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &SHIPPING).await?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 100).await?;
    let person = Person::with_money(&client, "1000").await?;
    let (mut paid, mut done) = (0, 0);
    for point in ["order/before-commit", "order/after-commit", "order-after-reserve"] {
        let request = json!({"requestId": key(), "items": [good.times(1)], "shippingAddress": address()});
        let callers: Vec<Person> = vec![person.on(&mortal.client()?); 50];
        let first = request.clone();
        let work = futures::future::join_all(callers.into_iter().map(move |caller| {
            let request = first.clone();
            async move { caller.call("order.v1.OrderService/CreateOrder", request).await }
        }));
        mortal.die_at(point, work).await?;
        let caller = person.on(&mortal.client()?);
        answered(&caller, "order.v1.OrderService/CreateOrder", &request).await;
        let order = once(&caller, "order.v1.OrderService/CreateOrder", &request).await?["order"].clone();
        let mut other = request.clone();
        other["items"] = json!([good.times(2)]);
        let refusal = caller.call("order.v1.OrderService/CreateOrder", other).await.unwrap_err();
        assert_eq!(refusal.reason, "IDEMPOTENCY_KEY_REUSED", "{point}: {refusal}");
        let order = caller.until(&order["id"], "STATE_FULFILLED").await;
        paid += atoms(text(&order["purchase"]["total"]["value"]), 2);
        done += 1;
        assert_eq!(atoms(&caller.available("USD").await?, 2), 100_000 - paid, "{point}: charged once");
        assert_eq!(good.available(&caller.client).await?, 100 - done, "{point}: shipped once");
    }
    invariants_hold(&mortal.client()?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_warehouse_ships_by_itself() -> Result<()> {
    let mortal = Mortal::start(Shape::Meshed, &SHIPPING).await?;
    let client: Client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 5).await?;
    let person = Person::with_money(&client, "100").await?;
    let order = person.buy(&[good.times(1)]).await?;
    person.until(&order["id"], "STATE_FULFILLED").await;
    invariants_hold(&client).await
}
