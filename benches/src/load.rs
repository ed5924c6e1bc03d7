//! A closed loop of callers: each sends its next order when the last is answered.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use contracts::{
    order::v1::{
        CreateOrderRequest, MarketTrade, Side, create_order_request::Order as Kind, order::State,
        order_service_client::OrderServiceClient,
    },
    r#type::v1::Amount,
};
use futures::future::try_join_all;
use tonic::transport::Channel;

use crate::target::{Target, authorized};

/// What was seen in one run.
#[derive(Clone)]
pub struct Figures {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// CPU of the platform's process per trade, the database's own process not counted.
    pub cpu_ms: f64,
    pub statements: f64,
    pub commits: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>8.0}  {:>7.2}  {:>7.2}  {:>12.3}  {:>11.1}  {:>13.2}",
            self.per_second,
            ms(self.p50),
            ms(self.p99),
            self.cpu_ms,
            self.statements,
            self.commits
        )
    }
}

/// Keeps `in_flight` trades under way for `seconds`.
pub async fn measure(target: &mut Target, in_flight: usize, seconds: u64) -> Result<Figures> {
    let (cpu, (statements, commits)) = (target.cpu_ms()?, target.work().await?);
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let callers = (0..in_flight).map(|number| {
        let channel = target.channels[number % target.channels.len()].clone();
        let token = target.tokens[number % target.tokens.len()].clone();
        async move { tokio::spawn(caller(channel, token, until)).await? }
    });
    let mut latencies: Vec<Duration> = try_join_all(callers).await?.into_iter().flatten().collect();
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let trades = latencies.len() as f64;
    ensure!(trades > 0.0, "not one trade was done");
    let (statements_after, commits_after) = target.work().await?;
    let at = |share: f64| latencies[((trades - 1.0) * share) as usize];
    Ok(Figures {
        per_second: trades / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        cpu_ms: (target.cpu_ms()? - cpu) / trades,
        statements: (statements_after - statements) / trades,
        commits: (commits_after - commits) / trades,
    })
}

async fn caller(channel: Channel, token: String, until: Instant) -> Result<Vec<Duration>> {
    let mut client = OrderServiceClient::new(channel);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let quantity = Some(Amount { value: "0.00001".into(), unit: "BTC".into() });
        let trade = MarketTrade { side: Side::Buy.into(), quantity, limit_price: None };
        let order =
            CreateOrderRequest { request_id: uuid::Uuid::new_v4().to_string(), order: Some(Kind::MarketTrade(trade)) };
        let sent = Instant::now();
        let reply = client.create_order(authorized(order, &token)?).await?.into_inner();
        latencies.push(sent.elapsed());
        let order = reply.order.context("no order")?;
        ensure!(order.state() == State::Fulfilled, "not fulfilled: {order:?}");
    }
    Ok(latencies)
}
