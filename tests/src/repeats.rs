//! The same request many times at once has one effect, and money is neither made nor lost.

use anyhow::Result;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Client, Protocol},
    people::{Person, atoms, text},
    platform::{Platform, Shape, amount, eventually, key},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_at_once_have_one_effect_on_sqlite() -> Result<()> {
    one_effect(&Platform::start(Shape::Meshed).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_at_once_have_one_effect_on_postgresql() -> Result<()> {
    one_effect(&Platform::start(Shape::Roles).await?).await
}

async fn one_effect(platform: &Platform) -> Result<()> {
    let client = platform.client(Protocol::Rest)?;
    let person = Person::with_money(&client, "1000").await?;
    let trade = json!({"side": "SIDE_BUY", "quantity": amount("0.001", "BTC")});
    let request = json!({"requestId": key(), "marketTrade": trade});
    let order = once(&person, "order.v1.OrderService/CreateOrder", &request).await?;
    assert_eq!(order["order"]["state"], "STATE_FULFILLED", "{order}");
    assert_eq!(person.available("BTC").await?, "0.001", "one trade");
    let listed = person.call("order.v1.OrderService/ListOrders", json!({})).await?;
    assert_eq!(listed["orders"].as_array().unwrap().len(), 1, "one order");

    let request = json!({"requestId": key(), "amount": amount("7", "EUR")});
    once(&person, "ledger.v1.WalletService/CreateDeposit", &request).await?;
    assert_eq!(person.available("EUR").await?, "7.00", "one deposit");
    Ok(())
}

/// Sends a request fifty times at once. Everyone gets the one reply, or is told that it is under way.
async fn once(person: &Person, rpc: &str, request: &Value) -> Result<Value> {
    let answers = join_all((0..50).map(|_| person.call(rpc, request.clone()))).await;
    let mut replies = Vec::new();
    for answer in answers {
        match answer {
            Ok(reply) => replies.push(reply),
            Err(refusal) => assert_eq!(refusal.reason, "REQUEST_IN_PROGRESS", "{refusal}"),
        }
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "{replies:?}");
    let again = person.call(rpc, request.clone()).await?;
    assert_eq!(again, replies[0], "and so does whoever asks later");
    Ok(again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_conserved_under_random_concurrent_traffic_on_sqlite() -> Result<()> {
    conserved(&Platform::start(Shape::Meshed).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_conserved_under_random_concurrent_traffic_on_postgresql() -> Result<()> {
    conserved(&Platform::start(Shape::Roles).await?).await
}

async fn conserved(platform: &Platform) -> Result<()> {
    let client = platform.client(Protocol::Grpc)?;
    let people = join_all((0..4).map(|_| Person::with_money(&client, "500"))).await;
    let people = people.into_iter().collect::<Result<Vec<_>>>()?;
    join_all((0..32_usize).map(|number| busy(&people[number % people.len()], number))).await;
    settled(&client).await
}

/// Ten moves, some of which must be refused.
async fn busy(person: &Person, number: usize) {
    for step in 0..10 {
        let answer = match (number + step) % 4 {
            0 => person.trade("SIDE_BUY", "0.002", "BTC").await,
            1 => person.trade("SIDE_SELL", "0.001", "BTC").await,
            2 => person.deposit("3").await,
            _ => {
                let request = json!({"requestId": key(), "amount": amount("25", "USD")});
                person.call("ledger.v1.WalletService/CreateWithdrawal", request).await
            }
        };
        if let Err(refusal) = answer {
            // On a slow machine time may run out: what was asked for then happens once, or not at all.
            let known = ["INSUFFICIENT_FUNDS", "SERIALIZATION_FAILURE", "DEADLINE_EXCEEDED"];
            assert!(known.contains(&refusal.reason.as_str()), "{refusal}");
        }
    }
}

/// Waits until nothing is under way, then adds up the books.
pub async fn settled(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    for (rpc, field, under_way) in [
        ("order.v1.OrderService/ListOrders", "orders", "STATE_PENDING"),
        ("ledger.v1.WalletService/ListWithdrawals", "withdrawals", "STATE_HELD"),
    ] {
        eventually("everything that was begun has ended", async || {
            let listed = admin.call(rpc, json!({"pageSize": 200})).await.ok()?;
            listed[field].as_array()?.iter().all(|item| item["state"] != under_way).then_some(())
        })
        .await;
    }
    let verified = admin.call("ledger.v1.LedgerService/VerifyLedger", json!({})).await?;
    assert_eq!(verified["holds"], true, "{verified}");
    for unit in verified["units"].as_array().unwrap() {
        assert_eq!(atoms(text(&unit["sum"]["value"]), 8), 0, "{unit}");
        assert_eq!(unit["accountsMatch"], true, "{unit}");
    }
    Ok(())
}
