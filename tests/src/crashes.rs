//! SIGKILL at named points, then a restart on the same data: nothing is lost, nothing happens twice.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::Protocol,
    facts::every_fact_is_told_once,
    mortal::Mortal,
    people::Person,
    platform::{Platform, Shape, amount, eventually, key},
    points::{self, Way},
    repeats::settled,
};

/// How long a process may take to finish what is under way.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &[]).await?;
    let person = Person::with_money(&mortal.client()?, "10000").await?;
    for (done, point) in points::on(Way::Traded).into_iter().enumerate() {
        let trade = json!({"side": "SIDE_BUY", "quantity": amount("0.001", "BTC")});
        let request = json!({"requestId": key(), "marketTrade": trade});
        let caller = person.on(&mortal.client()?);
        mortal.die_at(point, order(caller, request.clone())).await?;

        let caller = person.on(&mortal.client()?);
        let answer = eventually("the repeated request is answered", async || {
            let answer = caller.call("order.v1.OrderService/CreateOrder", request.clone()).await;
            match answer {
                Ok(reply) => Some(reply),
                Err(refusal) if refusal.code == tonic::Code::Aborted || refusal.code == tonic::Code::Unavailable => {
                    None
                }
                Err(refusal) => panic!("{point}: {refusal}"),
            }
        })
        .await;
        assert_eq!(answer["order"]["state"], "STATE_FULFILLED", "{point}: {answer}");
        let expected = format!("0.00{}", done + 1);
        assert_eq!(caller.available("BTC").await?, expected, "{point}: one trade per request");
    }
    settled(&mortal.client()?).await?;
    every_fact_is_told_once(&mortal.platform).await
}

async fn order(caller: Person, request: Value) -> Result<Value, crate::client::Refused> {
    caller.call("order.v1.OrderService/CreateOrder", request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_reaches_its_follower_though_the_follower_is_killed_over_it() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &[]).await?;
    let person = Person::register(&mortal.client()?).await?;
    let request = json!({"currentPassword": person.password, "newPassword": "another long password"});
    let (caller, first) = (person.on(&mortal.client()?), request.clone());
    for point in points::on(Way::Password) {
        let (caller, request) = (caller.clone(), first.clone());
        mortal.die_at(point, async move { caller.call("user.v1.UserService/ChangePassword", request).await }).await?;
    }
    let caller = person.on(&mortal.client()?);
    eventually("the old session has ended", async || {
        // The follower may have died over the fact of the registration, before the password was changed: then this is
        // the first change, otherwise it is refused.
        let _ = caller.call("user.v1.UserService/ChangePassword", request.clone()).await;
        let refused = caller.call("user.v1.UserService/GetUser", json!({})).await.err()?;
        (refused.reason == "TOKEN_REVOKED").then_some(())
    })
    .await;
    Person::login(&mortal.client()?, &person.email, "another long password").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_asked_to_end_finishes_what_is_under_way() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut platform = Platform::one_process(&folder.path().join("data"), &[], &[])?;
    let person = Person::with_money(&platform.client(Protocol::Rest)?, "1000").await?;
    let trades: Vec<_> = (0..20)
        .map(|_| {
            let person = person.clone();
            tokio::spawn(async move { person.trade("SIDE_BUY", "0.0001", "BTC").await })
        })
        .collect();
    let first = futures::future::select_all(trades).await;
    let mut answered = vec![first.0??["order"]["id"].clone()];
    platform.processes()[0].signal("TERM")?;
    let status = tokio::task::block_in_place(|| platform.processes()[0].wait(DRAIN_LIMIT))?;
    assert!(status.success(), "{status}");
    for trade in first.2 {
        // What was accepted is answered; what came too late finds no one, and is not there afterwards.
        match trade.await {
            Ok(Ok(order)) => {
                assert_eq!(order["order"]["state"], "STATE_FULFILLED");
                answered.push(order["order"]["id"].clone());
            }
            Ok(Err(refusal)) => assert_eq!(refusal.code, tonic::Code::Unavailable, "{refusal}"),
            Err(late) => assert!(late.is_panic(), "the connection was closed: {late}"),
        }
    }
    let platform = Platform::one_process(&folder.path().join("data"), &[], &[])?;
    let person = person.on(&platform.client(Protocol::Rest)?);
    let listed = person.call("order.v1.OrderService/ListOrders", json!({"pageSize": 200})).await?;
    let mut kept: Vec<&Value> = listed["orders"].as_array().unwrap().iter().map(|order| &order["id"]).collect();
    let mut answered: Vec<&Value> = answered.iter().collect();
    for ids in [&mut kept, &mut answered] {
        ids.sort_unstable_by_key(|id| id.to_string());
    }
    assert_eq!(kept, answered, "what was answered is kept, and nothing was begun that was not");
    Ok(())
}
