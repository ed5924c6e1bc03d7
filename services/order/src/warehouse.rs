//! The warehouse of a demo: ships what was confirmed and has it arrive, through the same RPCs as everyone.

use std::time::Duration;

use contracts::order::v1::{
    CreateShipmentRequest, DeliverShipmentRequest, fulfillment_service_client::FulfillmentServiceClient,
};
use kit::{Call, Error, drain::Draining};

use crate::{Service, shipment, steps, store};

/// How often it looks.
const TICK: Duration = Duration::from_millis(500);
/// How many orders, and how many shipments, one look takes.
const BATCH: i64 = 32;
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Who carries everything.
const CARRIER: &str = "Demo Express";

/// Ships and delivers, until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        if let Err(error) = kit::call::run(Call::background("order", LIMIT), work_once(service)).await {
            tracing::warn!(%error, "the demo warehouse could not work, and tries again");
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Ships every order that has rested, and delivers every shipment that has been on its way, for as long as the delay.
/// Gives back how many of both.
pub(crate) async fn work_once(service: &Service) -> Result<usize, Error> {
    let db = &service.0.db;
    let since = db.clock().now() - service.0.settings.ship_delay;
    let orders = db.read(async |session| store::to_ship(session, since, BATCH).await).await?;
    let shipments = db.read(async |session| shipment::under_way(session, since, BATCH).await).await?;
    let shipping = orders.iter().map(|(id, sequence)| ship(service, id, *sequence));
    let delivering = shipments.iter().map(|id| deliver(service, id));
    let (shipped, delivered) = tokio::join!(futures::future::join_all(shipping), futures::future::join_all(delivering));
    let outcomes = shipped.into_iter().chain(delivered);
    let failures: Vec<Error> = outcomes.filter_map(Result::err).collect();
    for error in &failures {
        tracing::warn!(%error, "the demo warehouse left something undone, and tries again");
    }
    Ok(orders.len() + shipments.len() - failures.len())
}

/// Under a key of this order as it stands, so that replicas that see it at once ship it once.
async fn ship(service: &Service, order_id: &str, sequence: i64) -> Result<(), Error> {
    let request = CreateShipmentRequest {
        request_id: kit::id::derive_uuid(order_id, &format!("warehouse/{sequence}")).to_string(),
        order_id: order_id.to_owned(),
        carrier: CARRIER.to_owned(),
        ..Default::default()
    };
    let mut order = FulfillmentServiceClient::new(service.0.order.clone());
    steps::ask(order.create_shipment(request)).await.map(|_| ())
}

async fn deliver(service: &Service, id: &str) -> Result<(), Error> {
    let request_id = kit::id::derive_uuid(id, "deliver").to_string();
    let request = DeliverShipmentRequest { request_id, id: id.to_owned() };
    let mut order = FulfillmentServiceClient::new(service.0.order.clone());
    steps::ask(order.deliver_shipment(request)).await.map(|_| ())
}
