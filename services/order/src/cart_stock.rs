//! How much there is of what is in a cart. It is told, and no more: whether an order gets it, its reservation decides.

use std::{collections::HashMap, time::Duration};

use contracts::{
    inventory::v1::{BatchGetAvailabilityRequest, inventory_service_client::InventoryServiceClient},
    order::v1 as api,
};
use kit::Call;
use tokio::time::Instant;

use crate::Service;

/// How long a cart waits for inventory at the most.
const WITHIN: Duration = Duration::from_millis(500);

/// How many pieces can be had of each variant that is kept in stock. Nothing if inventory does not say so in time, half of
/// what is left of it at the most: a cart is shown all the same.
pub async fn available(service: &Service, variant_ids: Vec<String>) -> Option<HashMap<String, i64>> {
    if variant_ids.is_empty() {
        return None;
    }
    let call = Call::try_current()?;
    let left = call.deadline.map(|until| until.saturating_duration_since(Instant::now()));
    let limit = left.map_or(WITHIN, |left| WITHIN.min(left / 2));
    let mut inventory = InventoryServiceClient::new(service.0.inventory.clone());
    let asked = inventory.batch_get_availability(BatchGetAvailabilityRequest { variant_ids });
    match tokio::time::timeout(limit, kit::call::run(call.detached(limit), asked)).await {
        Ok(Ok(reply)) => {
            let lines = reply.into_inner().availabilities.into_iter();
            Some(lines.map(|line| (line.variant_id, line.available)).collect())
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a cart is shown without what is left");
            None
        }
        Err(_) => {
            tracing::debug!("a cart is shown without what is left: inventory took too long");
            None
        }
    }
}

/// Writes into the lines where there is less than is wanted. `physical` are the variants that are kept in stock, if they
/// ever were.
pub fn show(cart: &mut api::Cart, physical: &[String], available: &HashMap<String, i64>) {
    for line in cart.lines.iter_mut().filter(|line| line.problem.is_empty() && physical.contains(&line.variant_id)) {
        line.problem = match available.get(&line.variant_id).copied().unwrap_or_default() {
            left if left >= line.quantity => continue,
            1 => "Only 1 is left.".to_owned(),
            left if left > 0 => format!("Only {left} are left."),
            _ => "Sold out.".to_owned(),
        };
    }
}
