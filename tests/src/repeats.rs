//! The same request many times at once has one effect, and money is neither made nor lost.

use anyhow::Result;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Client, Protocol},
    people::{Person, atoms, text},
    platform::{Platform, Shape, amount, eventually, key},
};

/// T-IDEM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_at_once_have_one_effect_on_sqlite() -> Result<()> {
    one_effect(&Platform::start(Shape::Meshed).await?).await
}

/// T-IDEM.
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
pub async fn once(person: &Person, rpc: &str, request: &Value) -> Result<Value> {
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

/// Ten moves, each carried out to its end; some must be refused for want of money.
async fn busy(person: &Person, number: usize) {
    for step in 0..10 {
        let (rpc, request) = one_move((number + step) % 4);
        let answer = eventually("a move comes to its end", async || {
            let answer = person.call(rpc, request.clone()).await;
            // A busy database or a slow machine says to ask again: the key makes that harmless.
            let again = ["SERIALIZATION_FAILURE", "REQUEST_IN_PROGRESS", "DEADLINE_EXCEEDED"];
            let ended = !matches!(&answer, Err(refusal) if again.contains(&refusal.reason.as_str()));
            ended.then_some(answer)
        })
        .await;
        if let Err(refusal) = answer {
            assert_eq!(refusal.reason, "INSUFFICIENT_FUNDS", "{refusal}");
        }
    }
}

fn one_move(number: usize) -> (&'static str, Value) {
    let trade = |side: &str, quantity: &str| {
        let trade = json!({"side": side, "quantity": amount(quantity, "BTC")});
        ("order.v1.OrderService/CreateOrder", json!({"requestId": key(), "marketTrade": trade}))
    };
    let money = |dollars: &str| json!({"requestId": key(), "amount": amount(dollars, "USD")});
    match number {
        0 => trade("SIDE_BUY", "0.002"),
        1 => trade("SIDE_SELL", "0.001"),
        2 => ("ledger.v1.WalletService/CreateDeposit", money("3")),
        _ => ("ledger.v1.WalletService/CreateWithdrawal", money("25")),
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
