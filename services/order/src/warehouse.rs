//! The warehouse of a demo: ships what was confirmed and has it arrive, through the same RPCs as everyone.

use std::time::Duration;

use contracts::order::v1::{
    CreateShipmentRequest, DeliverShipmentRequest, fulfillment_service_client::FulfillmentServiceClient,
};
use futures::StreamExt as _;
use kit::{Call, Error, drain::Draining};

use crate::{Service, shipment, steps, store};

/// How often it looks, at the least.
const TICK: Duration = Duration::from_millis(500);
/// The shortest pause after it found nothing to do: a commit says that there may be something, and there are many.
const PACE: Duration = Duration::from_millis(10);
/// How many orders, and how many shipments, one look takes.
const BATCH: i64 = 256;
/// How many of each are worked on at once.
const AT_ONCE: usize = 64;
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Who carries everything.
const CARRIER: &str = "Demo Express";

/// Ships and delivers, until drained. How many is a matter of what the platform can do, never of how often it looks:
/// there is no pause while there is something to do.
pub async fn run(service: &Service, draining: &Draining) {
    let mut committed = service.0.db.committed();
    while !draining.is_set() {
        // Before the look, so that no commit falls between.
        committed.borrow_and_update();
        let mut faulty = false;
        match kit::call::run(Call::background("order", LIMIT), work_once(service)).await {
            // There may be more.
            Ok(done) if done > 0 => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the demo warehouse could not work, and tries again");
                faulty = true;
            }
        }
        tokio::time::sleep(PACE).await;
        tokio::select! {
            () = draining.wait() => return,
            // Other processes commit unheard, and what is confirmed rests for a while.
            () = service.0.db.clock().sleep(TICK) => {}
            // A fault is given time.
            _ = committed.changed(), if !faulty => {}
        }
    }
}

/// Ships orders that have rested, and delivers shipments that have been on their way, for as long as the delay: those
/// that have waited longest. Gives back how many of both.
///
/// # Errors
/// What the database refuses, and what kept all of them from it.
pub(crate) async fn work_once(service: &Service) -> Result<usize, Error> {
    let db = &service.0.db;
    let since = db.clock().now() - service.0.settings.ship_delay;
    let orders = db.read(async |session| store::to_ship(session, since, BATCH).await).await?;
    let shipments = db.read(async |session| shipment::under_way(session, since, BATCH).await).await?;
    let count = orders.len() + shipments.len();
    let shipping = futures::stream::iter(orders)
        .map(|(id, sequence)| async move { ship(service, &id, sequence).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let delivering = futures::stream::iter(shipments)
        .map(|id| async move { deliver(service, &id).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let (shipped, delivered) = tokio::join!(shipping, delivering);
    let failures: Vec<Error> = shipped.into_iter().chain(delivered).filter_map(Result::err).collect();
    let done = count - failures.len();
    for error in &failures {
        tracing::warn!(%error, "the demo warehouse left something undone, and tries again");
    }
    match failures.into_iter().next() {
        Some(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
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
