//! How much a database has to do for a trade and for a purchase, everything included: relay, followers, sweepers. The
//! figures are limits that the code is held to; docs/PERFORMANCE.md says what was seen.

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use storage::testing::Database;

use crate::{
    client::Protocol,
    people::Person,
    platform::{Platform, key},
    shop::{Good, address},
};

/// How many are under way at a time.
const IN_FLIGHT: usize = 64;
/// Over how many the work is counted.
const COUNT: usize = 512;

/// What one of many costs.
#[derive(Debug)]
struct Cost {
    statements: f64,
    commits: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_costs_at_most_seventy_statements_and_six_commits_on_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let platform = Platform::one_process(folder.path(), &[], &SHIPPING)?;
    let cost = purchases(&platform).await?;
    eprintln!("a purchase on SQLite, {IN_FLIGHT} in flight: {cost:.1?}");
    ensure!(cost.statements <= 70.0 && cost.commits <= 6.0, "{cost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_costs_at_most_so_much_on_postgresql() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let names: Vec<&str> = agora::services::SERVICES.iter().map(|service| service.name).chain(["events"]).collect();
    let url = Database::postgres_each(&names).await.expect("PostgreSQL is installed");
    let events = format!("sql:{}", url.replace("{name}", "events"));
    let settings = [&SHIPPING[..], &[("AGORA_DATABASE", url.as_str()), ("AGORA_EVENTS", events.as_str())]].concat();
    let platform = Platform::one_process(folder.path(), &[], &settings)?;
    let cost = purchases(&platform).await?;
    eprintln!("a purchase on PostgreSQL, {IN_FLIGHT} in flight: {cost:.1?}");
    ensure!(cost.statements <= 90.0 && cost.commits <= 14.0, "{cost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_costs_at_most_thirty_statements_and_two_commits_on_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let platform = Platform::one_process(folder.path(), &[], &[])?;
    let person = Person::with_money(&platform.client(Protocol::Grpc)?, "100000").await?;
    let before = work(&platform).await?;
    stream::iter(0..COUNT)
        .for_each_concurrent(IN_FLIGHT, |_| async {
            let order = person.trade("SIDE_BUY", "0.0001", "BTC").await.expect("it is answered");
            assert_eq!(order["order"]["state"], "STATE_FULFILLED", "{order}");
        })
        .await;
    let cost = each(&before, &work(&platform).await?);
    eprintln!("a trade on SQLite, {IN_FLIGHT} in flight: {cost:.1?}");
    ensure!(cost.statements <= 30.0 && cost.commits <= 2.0, "{cost:?}");
    Ok(())
}

/// The demo warehouse ships at once.
const SHIPPING: [(&str, &str); 2] = [("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "1ms")];

/// Purchases from the order to the shipment, each complete before the next takes its place.
async fn purchases(platform: &Platform) -> Result<Cost> {
    let client = platform.client(Protocol::Grpc)?;
    let good = Good::stocked(&Person::admin(&client).await?, "10", 100_000).await?;
    let mut people = Vec::new();
    for _ in 0..32 {
        people.push(Person::with_money(&client, "100000").await?);
    }
    let before = work(platform).await?;
    stream::iter(0..COUNT)
        .for_each_concurrent(IN_FLIGHT, |number| {
            let (person, good) = (&people[number % people.len()], &good);
            async move {
                let request = json!({"requestId": key(), "items": [good.times(1)], "shippingAddress": address()});
                let reply = person.call("order.v1.OrderService/CreateOrder", request).await.expect("it is noted");
                // Watched, and not asked again and again: asking costs statements, too.
                fulfilled(person, &reply["order"]["id"]).await.expect("it is fulfilled");
            }
        })
        .await;
    Ok(each(&before, &work(platform).await?))
}

async fn fulfilled(person: &Person, id: &Value) -> Result<()> {
    let request = json!({"id": id, "afterSequence": "0"});
    let mut changes = person.client.watch("order.v1.OrderService/WatchOrder", request).await?;
    loop {
        let change = crate::client::next(&mut changes).await?;
        let state = &change["order"]["state"];
        if state == "STATE_FULFILLED" {
            return Ok(());
        }
        ensure!(state == "STATE_PENDING" || state == "STATE_CONFIRMED", "{change}");
    }
}

fn each(before: &Cost, after: &Cost) -> Cost {
    let each = |before: f64, after: f64| (after - before) / COUNT as f64;
    Cost { statements: each(before.statements, after.statements), commits: each(before.commits, after.commits) }
}

/// Statements and commits of every database until now.
async fn work(platform: &Platform) -> Result<Cost> {
    let client = platform.client(Protocol::Rest)?;
    let (_, page) = client.http_request(http::Method::GET, "/metrics", None, &[]).await?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let sum = |what: &str| -> f64 {
        page.lines()
            .filter(|line| line.starts_with("storage_") && line.contains(&format!("_{what}_total ")))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    };
    if std::env::var_os("AGORA_WORK").is_some() {
        page.lines().filter(|line| line.starts_with("storage_")).for_each(|line| eprintln!("{line}"));
    }
    let cost = Cost { statements: sum("statements"), commits: sum("commits") };
    ensure!(cost.commits > 0.0, "the metrics show no commits: {page}");
    Ok(cost)
}
