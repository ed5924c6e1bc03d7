//! SIGKILL while goods are bought: after a restart nothing is lost, nothing happens twice, and every saga ends.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    client::{Client, Refused},
    crashes::Mortal,
    people::{Person, atoms, text},
    platform::{eventually, key},
    shop::{Good, address, cards, invariants_hold},
};

/// How soon every saga must have ended after a restart.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// The points of a purchase's way at which a process may die: by wallet, by card, or both.
const POINTS: &[(&str, Option<&str>)] = &[
    ("order/before-commit", None),
    ("order/after-commit", None),
    ("inventory/before-commit", None),
    ("inventory/after-commit", None),
    ("order-after-reserve", None),
    ("ledger/after-commit", None),
    ("payment-after-ledger", None),
    ("payment/before-commit", None),
    ("payment/after-commit", None),
    ("payment-before-provider", Some(cards::APPROVED)),
    ("payment-after-provider", Some(cards::APPROVED)),
    ("order-after-authorize", None),
    ("order-after-pin", None),
    ("order-after-confirm", None),
    ("shipment-after-commit-stock", None),
    ("shipment-after-capture", Some(cards::APPROVED)),
    ("payment-after-capture", Some(cards::APPROVED)),
    ("inventory-after-batch", None),
    ("payment/relay-after-append", None),
    ("ledger/relay-after-append", None),
    ("order/relay-after-append", None),
    ("inventory/relay-after-append", None),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start_with(&[("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")])?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 1000).await?;
    let person = Person::with_money(&client, "10000").await?;
    let card = person.card(cards::APPROVED).await?["id"].clone();
    let mut paid = 0;
    for (done, (point, by_card)) in (1..).zip(POINTS) {
        let method = if by_card.is_some() { card.clone() } else { json!("") };
        let request = json!({
            "requestId": key(), "items": [good.times(1)], "shippingAddress": address(), "paymentMethodId": method,
        });
        let (caller, first) = (person.on(&mortal.client()?), request.clone());
        let work = async move { caller.call("order.v1.OrderService/CreateOrder", first).await };
        mortal.die_at(point, work).await?;
        let caller = person.on(&mortal.client()?);
        let order = placed(&caller, &request, point).await;
        let order = caller.until(&order["id"], "STATE_FULFILLED").await;
        let payment = caller.payment(&order["purchase"]["paymentId"]).await?;
        assert_eq!(payment["captured"], order["purchase"]["total"], "{point}: {payment}");
        if by_card.is_none() {
            paid += atoms(text(&order["purchase"]["total"]["value"]), 2);
        }
        let left = atoms(&caller.available("USD").await?, 2);
        assert_eq!(left, 1_000_000 - paid, "{point}: charged once");
        assert_eq!(good.available(&caller.client).await?, 1000 - done, "{point}: shipped once");
    }
    let client = mortal.client()?;
    let listed = person.on(&client).call("order.v1.OrderService/ListOrders", json!({"pageSize": 200})).await?;
    assert_eq!(listed["orders"].as_array().unwrap().len(), POINTS.len(), "one order per request");
    invariants_hold(&client).await
}

/// Undoing and giving back are as much a way as buying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_and_a_return_survive_a_kill() -> Result<()> {
    let mut mortal = Mortal::start_with(&[])?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 10).await?;
    let person = Person::with_money(&client, "1000").await?;
    for point in ["payment/after-commit", "inventory/after-commit", "ledger/after-commit", "order/after-commit"] {
        let order = person.on(&mortal.client()?).buy(&[good.times(1)]).await?;
        person.on(&mortal.client()?).until(&order["id"], "STATE_CONFIRMED").await;
        let (caller, id) = (person.on(&mortal.client()?), order["id"].clone());
        mortal.die_at(point, async move { caller.cancel(&id).await }).await?;
        let caller = person.on(&mortal.client()?);
        // The caller may not have been heard: then it asks again.
        eventually("the cancel is answered", async || caller.cancel(&order["id"]).await.ok()).await;
        caller.until(&order["id"], "STATE_CANCELLED").await;
        assert_eq!(caller.available("USD").await?, "1000.00", "{point}: the money is back");
        assert_eq!(good.available(&caller.client).await?, 10, "{point}: the goods are back");
    }
    returned_over_a_kill(&mut mortal, &person, &good).await?;
    invariants_hold(&mortal.client()?).await
}

async fn returned_over_a_kill(mortal: &mut Mortal, person: &Person, good: &Good) -> Result<()> {
    let mut back = 0;
    for point in ["inventory/after-commit", "refund-after-provider", "return-after-refund", "payment/after-commit"] {
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
        let work = async move { merchant.call("order.v1.FulfillmentService/ReceiveReturn", first).await };
        mortal.die_at(point, work).await?;
        let client = mortal.client()?;
        let (caller, admin) = (person.on(&client), Person::admin(&client).await?);
        eventually("the return is refunded", async || {
            // Repeated under its key, in case that it was not heard.
            let _ = admin.call("order.v1.FulfillmentService/ReceiveReturn", receive.clone()).await;
            let request = json!({"id": announced["id"]});
            let shown = caller.call("order.v1.FulfillmentService/GetReturn", request).await.ok()?;
            (shown["return"]["state"] == "STATE_REFUNDED").then_some(())
        })
        .await;
        back += 1;
        let paid = atoms(text(&order["purchase"]["total"]["value"]), 2);
        let line = atoms(text(&order["purchase"]["lines"][0]["total"]["value"]), 2);
        assert_eq!(atoms(&caller.available("USD").await?, 2), before - paid + line, "{point}: refunded once");
        assert_eq!(good.available(&client).await?, 10, "{point}: restocked once, return {back}");
    }
    Ok(())
}

/// Repeats a request until it is answered.
async fn placed(caller: &Person, request: &Value, point: &str) -> Value {
    eventually("the repeated request is answered", async || {
        match caller.call("order.v1.OrderService/CreateOrder", request.clone()).await {
            Ok(reply) => Some(reply["order"].clone()),
            Err(refusal) if transient(&refusal) => None,
            Err(refusal) => panic!("{point}: {refusal}"),
        }
    })
    .await
}

fn transient(refusal: &Refused) -> bool {
    use tonic::Code::{Aborted, DeadlineExceeded, Unavailable, Unknown};
    matches!(refusal.code, Aborted | DeadlineExceeded | Unavailable | Unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_under_load_survive_one_kill_after_another() -> Result<()> {
    let kills: u32 = std::env::var("AGORA_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let mut mortal = Mortal::start_with(&[("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")])?;
    let client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 100_000).await?;
    let people = join_all((0..4).map(|_| Person::with_money(&client, "100000"))).await;
    let people = people.into_iter().collect::<Result<Vec<_>>>()?;
    let mut asked: Vec<(usize, Value)> = Vec::new();
    for _ in 0..kills {
        // Some are answered before the process dies, some are not: all of them are repeated afterwards.
        let requests: Vec<(usize, Value)> = (0..32).map(|number| (number % people.len(), order_of(&good))).collect();
        asked.extend(requests.iter().cloned());
        let client = mortal.client()?;
        let callers: Vec<Person> = people.iter().map(|person| person.on(&client)).collect();
        let load = join_all(requests.into_iter().map(move |(number, request)| {
            let caller = callers[number].clone();
            async move { caller.call("order.v1.OrderService/CreateOrder", request).await }
        }));
        let point = POINTS[rand::rng().random_range(0..POINTS.len())];
        // Points that only a card meets would never be met by this load.
        let point = if point.1.is_some() { "payment/after-commit" } else { point.0 };
        mortal.die_at(point, load).await?;
    }
    let healed = Instant::now();
    let client = mortal.client()?;
    let mut orders = Vec::new();
    for (number, request) in &asked {
        let caller = people[*number].on(&client);
        orders.push((*number, placed(&caller, request, "after the last kill").await["id"].clone()));
    }
    let mut totals = vec![0; people.len()];
    for (number, id) in &orders {
        let order = people[*number].on(&client).until(id, "STATE_FULFILLED").await;
        totals[*number] += atoms(text(&order["purchase"]["total"]["value"]), 2);
    }
    assert!(healed.elapsed() < HEALED_WITHIN, "sagas took {:?} to end", healed.elapsed());
    for (person, total) in people.iter().zip(totals) {
        assert_eq!(atoms(&person.on(&client).available("USD").await?, 2), 10_000_000 - total, "charged once each");
    }
    let mut ids: Vec<&str> = orders.iter().map(|(_, id)| text(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), asked.len(), "one order per request");
    assert_eq!(good.available(&client).await?, 100_000 - i64::try_from(asked.len())?, "shipped once each");
    invariants_hold(&client).await
}

fn order_of(good: &Good) -> Value {
    json!({"requestId": key(), "items": [good.times(1)], "shippingAddress": address()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_warehouse_ships_by_itself() -> Result<()> {
    let mortal = Mortal::start_with(&[("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")])?;
    let client: Client = mortal.client()?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 5).await?;
    let person = Person::with_money(&client, "100").await?;
    let order = person.buy(&[good.times(1)]).await?;
    person.until(&order["id"], "STATE_FULFILLED").await;
    invariants_hold(&client).await
}
