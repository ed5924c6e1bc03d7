//! Many at once over the same goods, orders and payments: one winner, and everyone else is told why.

use anyhow::Result;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Protocol},
    people::{Person, atoms, text},
    platform::{Platform, Shape, amount, eventually, key},
    repeats::once,
    shop::{Good, address, cards, invariants_hold},
};

/// How many buyers want the last piece.
const BUYERS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_at_once_is_served_rightly_on_sqlite() -> Result<()> {
    everyone_at_once(&Platform::start(Shape::Meshed).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_at_once_is_served_rightly_on_postgresql() -> Result<()> {
    everyone_at_once(&Platform::start(Shape::Roles).await?).await
}

async fn everyone_at_once(platform: &Platform) -> Result<()> {
    let client = platform.client(Protocol::Grpc)?;
    let admin = Person::admin(&client).await?;
    the_last_piece_is_sold_once(&client, &admin).await?;
    fifty_identical_orders_are_one(&client, &admin).await?;
    two_refunds_cannot_give_back_more_than_was_taken(&client, &admin).await?;
    a_cancel_that_races_a_shipment_wins_or_loses_whole(&client, &admin).await?;
    carts_with_reversed_lines_do_not_wait_for_each_other(&client, &admin).await?;
    what_is_paid_and_quickly_cancelled_costs_nothing(&client, &admin).await?;
    no_order_says_that_it_is_undone_before_its_money_is_back(&client, &admin).await?;
    invariants_hold(&client).await
}

/// How often a race is run: a few times with every test run, as often as wanted by hand.
fn rounds() -> u32 {
    std::env::var("AGORA_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// T-OVERSELL.
async fn the_last_piece_is_sold_once(client: &Client, admin: &Person) -> Result<()> {
    let people = join_all((0..8).map(|_| Person::with_money(client, "100000"))).await;
    let people = people.into_iter().collect::<Result<Vec<_>>>()?;
    for round in 0..rounds() {
        let good = Good::stocked(admin, "10", 1).await?;
        let orders = join_all((0..BUYERS).map(|buyer| {
            let (person, line) = (&people[buyer % people.len()], good.times(1));
            async move {
                let order = person.buy(&[line]).await?;
                Ok::<_, anyhow::Error>(ended(person, &order["id"]).await)
            }
        }))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
        let (sold, refused): (Vec<&Value>, Vec<&Value>) =
            orders.iter().partition(|order| order["state"] == "STATE_CONFIRMED");
        assert_eq!(sold.len(), 1, "round {round}: {sold:?}");
        for order in refused {
            assert_eq!(order["state"], "STATE_REJECTED", "round {round}: {order}");
            assert_eq!(order["rejection"]["reason"], "OUT_OF_STOCK", "round {round}: {order}");
        }
        admin.ship(&sold[0]["id"], &[]).await?;
    }
    let mut paid = 0;
    for person in &people {
        paid += 10_000_000 - atoms(&person.available("USD").await?, 2);
        let wallet = person.call("ledger.v1.WalletService/GetWallet", json!({})).await?;
        assert_eq!(wallet["wallet"]["balances"][0]["held"], amount("0.00", "USD"), "nothing stays set aside");
    }
    let one = total_of_ten_dollars(&people[0], admin).await?;
    assert_eq!(paid, one * i64::from(rounds()), "one of them paid in each round");
    Ok(())
}

/// What one piece at ten dollars costs with shipping and tax.
async fn total_of_ten_dollars(person: &Person, admin: &Person) -> Result<i64> {
    let good = Good::stocked(admin, "10", 1).await?;
    let basket = json!({"items": [good.times(1)], "countryCode": "DE"});
    let quote = person.call("catalog.v1.PricingService/CreatePurchaseQuote", json!({"basket": basket})).await?;
    Ok(atoms(text(&quote["quote"]["total"]["value"]), 2))
}

/// Waits until an order is no longer on its way.
async fn ended(person: &Person, id: &Value) -> Value {
    eventually("the order is confirmed or refused", async || {
        let order = person.order(id).await.ok()?;
        (order["state"] != "STATE_PENDING").then_some(order)
    })
    .await
}

/// T-IDEM.
async fn fifty_identical_orders_are_one(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 100).await?;
    let person = Person::with_money(client, "5000").await?;
    let request = json!({"requestId": key(), "items": [good.times(1)], "shippingAddress": address()});
    once(&person, "order.v1.OrderService/CreateOrder", &request).await?;
    let listed = person.call("order.v1.OrderService/ListOrders", json!({})).await?;
    assert_eq!(listed["orders"].as_array().unwrap().len(), 1);
    person.until(&listed["orders"][0]["id"], "STATE_CONFIRMED").await;
    assert_eq!(good.available(client).await?, 99);
    Ok(())
}

/// T-REFUND-RACE.
async fn two_refunds_cannot_give_back_more_than_was_taken(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 20).await?;
    for card in [None, Some(cards::APPROVED)] {
        let person = Person::with_money(client, "1000").await?;
        let method = match card {
            Some(number) => json!({"paymentMethodId": person.card(number).await?["id"]}),
            None => json!({}),
        };
        let order = person.buy_with(&[good.times(1)], method).await?;
        person.until(&order["id"], "STATE_CONFIRMED").await;
        admin.ship(&order["id"], &[]).await?;
        let order = person.until(&order["id"], "STATE_FULFILLED").await;
        let total = atoms(text(&order["purchase"]["total"]["value"]), 2);
        let most = kit::amount::format(total - 1, 2);
        let answers = join_all((0..2).map(|_| {
            let request = json!({
                "requestId": key(), "paymentId": order["purchase"]["paymentId"], "amount": amount(&most, "USD"),
            });
            admin.call("payment.v1.PaymentService/CreateRefund", request)
        }))
        .await;
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "{answers:?}");
        assert_eq!(refused[0].reason, "REFUND_EXCEEDS_CAPTURED", "{}", refused[0]);
    }
    Ok(())
}

async fn a_cancel_that_races_a_shipment_wins_or_loses_whole(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 100).await?;
    let person = Person::with_money(client, "1000").await?;
    for _ in 0..6 {
        let before = atoms(&person.available("USD").await?, 2);
        let order = person.buy(&[good.times(2)]).await?;
        person.until(&order["id"], "STATE_CONFIRMED").await;
        let ship = async || admin.ship(&order["id"], &[]).await;
        let cancel = async || person.cancel(&order["id"]).await;
        let (shipped, cancelled) = tokio::join!(decided(ship), decided(cancel));
        let after = async || Ok::<_, anyhow::Error>(atoms(&person.available("USD").await?, 2));
        match (shipped, cancelled) {
            (Ok(_), Err(refusal)) => {
                assert_eq!(refusal.reason, "ORDER_NOT_CANCELLABLE", "{refusal}");
                let order = person.until(&order["id"], "STATE_FULFILLED").await;
                assert_eq!(after().await?, before - atoms(text(&order["purchase"]["total"]["value"]), 2));
            }
            (Err(refusal), Ok(_)) => {
                assert_eq!(refusal.reason, "INVALID_STATE_TRANSITION", "{refusal}");
                person.until(&order["id"], "STATE_CANCELLED").await;
                assert_eq!(after().await?, before);
            }
            (shipped, cancelled) => panic!("both or neither: {shipped:?} {cancelled:?}"),
        }
    }
    Ok(())
}

/// Asks until it is decided: while one of them is under way, the other is told to come back.
async fn decided(ask: impl AsyncFn() -> Answer) -> Answer {
    eventually("it is decided", async || {
        let answer = ask().await;
        let later = matches!(&answer, Err(refusal) if refusal.reason == "LOCK_CONFLICT");
        (!later).then_some(answer)
    })
    .await
}

/// T-DEADLOCK.
async fn carts_with_reversed_lines_do_not_wait_for_each_other(client: &Client, admin: &Person) -> Result<()> {
    let (one, other) = (Good::stocked(admin, "1", 1000).await?, Good::stocked(admin, "1", 1000).await?);
    let person = Person::with_money(client, "10000").await?;
    let orders = join_all((0..24).map(|number| {
        let mut lines = vec![one.times(1), other.times(1)];
        if number % 2 == 1 {
            lines.reverse();
        }
        let person = &person;
        async move { ended(person, &person.buy(&lines).await.expect("it is noted")["id"]).await }
    }))
    .await;
    for order in orders {
        assert_eq!(order["state"], "STATE_CONFIRMED", "{order}");
    }
    assert_eq!((one.available(client).await?, other.available(client).await?), (976, 976));
    Ok(())
}

/// T-F13: the cancellation comes at any moment of the way: before the goods are set aside, while the payment is asked for,
/// and after.
async fn what_is_paid_and_quickly_cancelled_costs_nothing(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 100).await?;
    let person = Person::with_money(client, "10000").await?;
    let mut methods = vec![json!("")];
    for number in [cards::APPROVED, cards::NEEDS_ACTION, cards::LOST_REQUEST] {
        methods.push(person.card(number).await?["id"].clone());
    }
    let cancelled = join_all((0..32).map(|number| {
        let (person, line, method) = (&person, good.times(1), &methods[number % methods.len()]);
        async move {
            let order = person.buy_with(&[line], json!({"paymentMethodId": method})).await?;
            // Looks take time: some cancel at once, some later.
            for _ in 0..number / 4 {
                person.order(&order["id"]).await?;
            }
            decided(async || person.cancel(&order["id"]).await).await?;
            let order = person.until(&order["id"], "STATE_CANCELLED").await;
            let payment = person.payment(&order["purchase"]["paymentId"]).await?;
            // One that was not asked for before it was undone has no amount.
            assert!(payment["captured"].is_null() || payment["captured"]["value"] == "0.00", "{payment}");
            Ok::<_, anyhow::Error>(())
        }
    }));
    cancelled.await.into_iter().collect::<Result<()>>()?;
    assert_eq!(person.available("USD").await?, "10000.00", "all the money is back");
    assert_eq!(good.available(client).await?, 100, "all the goods are back");
    Ok(())
}

/// T-F1: the state of an order never overtakes its money, on the way back as little as on the way there, and nothing that
/// is late sets it back.
async fn no_order_says_that_it_is_undone_before_its_money_is_back(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 100).await?;
    for number in [None, Some(cards::APPROVED)] {
        let person = Person::with_money(client, "100").await?;
        let method = match number {
            Some(number) => person.card(number).await?["id"].clone(),
            None => json!(""),
        };
        let more = json!({"paymentMethodId": method});
        for _ in 0..4 {
            let before = person.available("USD").await?;
            let order = person.buy_with(&[good.times(1)], more.clone()).await?;
            person.until(&order["id"], "STATE_CONFIRMED").await;
            let twice = tokio::join!(
                decided(async || person.cancel(&order["id"]).await),
                decided(async || person.cancel(&order["id"]).await)
            );
            assert!(twice.0.is_ok() && twice.1.is_ok(), "{twice:?}");
            person.until(&order["id"], "STATE_CANCELLED").await;
            // Asked at once, and once.
            let payment = person.payment(&order["purchase"]["paymentId"]).await?;
            assert_eq!(payment["state"], "STATE_VOIDED", "{payment}");
            assert_eq!(person.available("USD").await?, before);
            assert_eq!(path(&person, &order).await?, ["PENDING", "CONFIRMED", "CANCELLING", "CANCELLED"]);
        }
        let order = person.buy_with(&[good.times(1)], more).await?;
        person.until(&order["id"], "STATE_CONFIRMED").await;
        admin.ship(&order["id"], &[]).await?;
        person.until(&order["id"], "STATE_FULFILLED").await;
        let shipped = atoms(&person.available("USD").await?, 2);
        let refunded = given_back(&person, admin, &order, &good).await?;
        let refund = person.call("payment.v1.PaymentService/GetRefund", json!({"id": refunded["refundId"]})).await?;
        assert_eq!(refund["refund"]["state"], "STATE_SUCCEEDED", "{refund}");
        let back = if number.is_none() { atoms(text(&refunded["amount"]["value"]), 2) } else { 0 };
        assert_eq!(atoms(&person.available("USD").await?, 2), shipped + back);
    }
    Ok(())
}

/// Sends the goods of an order back, and waits until the return says that the money is.
async fn given_back(person: &Person, admin: &Person, order: &Value, good: &Good) -> Result<Value> {
    let request = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let announced = person.call("order.v1.FulfillmentService/CreateReturn", request).await?["return"].clone();
    let receive = json!({"requestId": key(), "id": announced["id"], "restock": true});
    admin.call("order.v1.FulfillmentService/ReceiveReturn", receive).await?;
    Ok(eventually("the return is refunded", async || {
        let request = json!({"id": announced["id"]});
        let shown = person.call("order.v1.FulfillmentService/GetReturn", request).await.ok()?["return"].clone();
        (shown["state"] == "STATE_REFUNDED").then_some(shown)
    })
    .await)
}

/// The states that an order has gone through.
async fn path(person: &Person, order: &Value) -> Result<Vec<String>> {
    let listed = person.call("order.v1.OrderService/ListOrderChanges", json!({"id": order["id"]})).await?;
    let changes = listed["changes"].as_array().into_iter().flatten();
    Ok(changes.map(|change| text(&change["toState"]).trim_start_matches("STATE_").to_owned()).collect())
}
