//! Orders that are stuck are never silent: `/metrics` counts them, and each new one is an error in the log.

use std::time::Duration;

use kit::{drain::Draining, telemetry};
use prometheus_client::metrics::gauge::Gauge;

use crate::Service;

/// How often stuck orders are counted.
const TICK: Duration = Duration::from_secs(5);

/// Counts stuck orders until drained. Every replica counts those of all.
pub async fn run(service: &Service, draining: &Draining) {
    let stuck: Gauge = Gauge::default();
    let help = "Orders that an operator has to take up with RetrySaga or, for a shipment, CancelShipment";
    telemetry::register(|registry| registry.register("order_sagas_stuck", help, stuck.clone()));
    loop {
        match service.stuck().await {
            Ok(count) => {
                if count > stuck.set(count) {
                    tracing::error!(
                        count,
                        "orders are stuck: ListSagas names them, RetrySaga or CancelShipment takes them up"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "stuck orders could not be counted"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}
