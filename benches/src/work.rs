//! What one caller does again and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use contracts::{
    order::v1::{
        CreateOrderRequest, LineQuantity, MarketTrade, Side, WatchOrderRequest, create_order_request::Order as Kind,
        order::State, order_service_client::OrderServiceClient,
    },
    r#type::v1::{Amount, PostalAddress},
};
use tonic::transport::Channel;

use crate::target::authorized;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// An asset for money, at the price of the moment.
    Trade,
    /// Goods from stock, paid by wallet, until they are shipped and charged.
    Purchase,
}

/// How long one piece of work took: until it was accepted, and until it was complete.
pub struct Took {
    pub accepted: Duration,
    pub complete: Duration,
}

/// Does it once.
pub async fn once(work: Work, channel: &Channel, token: &str, variant: &str) -> Result<Took> {
    let mut client = OrderServiceClient::new(channel.clone());
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = match work {
        Work::Trade => {
            let quantity = Some(Amount { value: "0.00001".into(), unit: "BTC".into() });
            let trade = MarketTrade { side: Side::Buy.into(), quantity, limit_price: None };
            CreateOrderRequest { request_id, order: Some(Kind::MarketTrade(trade)), ..Default::default() }
        }
        Work::Purchase => CreateOrderRequest {
            request_id,
            items: vec![LineQuantity { variant_id: variant.to_owned(), quantity: 1 }],
            shipping_address: Some(PostalAddress {
                recipient: "A Bench".into(),
                lines: vec!["Street 1".into()],
                city: "Berlin".into(),
                postal_code: "10115".into(),
                country_code: "DE".into(),
            }),
            ..Default::default()
        },
    };
    let sent = Instant::now();
    let reply = client.create_order(authorized(request, token)?).await?.into_inner();
    let accepted = sent.elapsed();
    let order = reply.order.context("no order")?;
    if order.state() != State::Fulfilled {
        let watch = WatchOrderRequest { id: order.id.clone(), after_sequence: order.sequence };
        let mut changes = client.watch_order(authorized(watch, token)?).await?.into_inner();
        loop {
            let change = changes.message().await?.context("the stream ended before the order did")?;
            let order = change.order.context("no order")?;
            ensure!(!matches!(order.state(), State::Rejected | State::Cancelled), "not fulfilled: {order:?}");
            if order.state() == State::Fulfilled {
                break;
            }
        }
    }
    Ok(Took { accepted, complete: sent.elapsed() })
}
