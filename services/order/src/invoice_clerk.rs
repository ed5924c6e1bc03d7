//! Writes the invoices of what has left, many in one unit, with numbers that have no gap.

use std::{collections::BTreeSet, time::Duration};

use contracts::order::v1::{self as api, Invoice, order_event::Event};
use kit::{Error, drain::Draining};
use storage::{Fact, Unit};

use crate::{
    Service,
    invoice::{self, Subject},
    invoice_store as store,
};

/// How often to look, at the least.
const TICK: Duration = Duration::from_millis(500);
/// How many invoices one unit writes.
const BATCH: i64 = 256;

/// Writes invoices until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        match work(service).await {
            // There may be more.
            Ok(written) if written == BATCH.unsigned_abs() as usize && !draining.is_set() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "invoices wait to be written, and will be"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Writes the invoices of shipments that have waited longest, and says how many shipments it took up.
pub async fn work(service: &Service) -> Result<usize, Error> {
    if !service.0.db.read(async |session| store::any_due(session).await).await? {
        return Ok(0);
    }
    service.0.db.write(write).await
}

async fn write(unit: &mut Unit) -> Result<usize, Error> {
    let year = year(&unit.now().to_string())?;
    // Before anything is read: what another clerk is writing at this moment does not wait any more.
    let mut last = store::lock_numbers(unit, year).await?;
    let due = store::due(unit, BATCH).await?;
    let ids = Vec::from_iter(due.iter().map(|shipment| shipment.order_id.as_str()).collect::<BTreeSet<_>>());
    if ids.is_empty() {
        return Ok(0);
    }
    let orders = store::orders_of(unit, &ids).await?;
    let shipments = store::shipments_of(unit, &ids).await?;
    let (mut invoices, mut unwritten) = (Vec::with_capacity(due.len()), Vec::new());
    for shipment in &due {
        let order = orders.get(&shipment.order_id);
        let all = shipments.get(&shipment.order_id);
        let purchase = order.and_then(|order| order.purchase.as_ref());
        let known = purchase.zip(all);
        let known =
            known.ok_or_else(|| Error::internal(format!("{} has no purchase, or too many shipments", shipment.id)));
        let written = known.and_then(|(purchase, all)| {
            let before = invoice::shipped_before(all, shipment);
            let subject = Subject { purchase, shipment, before: &before };
            let id = kit::id::new("inv", unit.now());
            invoice::write(&subject, id, invoice::number(year, last + 1), unit.now())
        });
        match (written, order) {
            (Ok(invoice), Some(order)) => {
                tell(unit, order, &invoice)?;
                invoices.push(invoice);
                last += 1;
            }
            // One that cannot be written keeps no other waiting. Why it cannot is in the log.
            _ => unwritten.push(shipment.id.as_str()),
        }
    }
    if !invoices.is_empty() {
        store::insert(unit, &invoices).await?;
        store::save_numbers(unit, year, last).await?;
    }
    if !unwritten.is_empty() {
        store::set_aside(unit, &unwritten).await?;
    }
    Ok(due.len())
}

/// Tells that an invoice was written. The invoice is the aggregate, so that orders go on meanwhile.
fn tell(unit: &mut Unit, order: &api::Order, invoice: &Invoice) -> Result<(), Error> {
    let issued = api::InvoiceIssued { invoice_id: invoice.id.clone(), number: invoice.number.clone() };
    let mut order = order.clone();
    if let Some(purchase) = &mut order.purchase {
        purchase.shipping_address = None;
    }
    let message = &api::OrderEvent { order: Some(order), event: Some(Event::InvoiceIssued(issued)) };
    unit.fact(&Fact { aggregate: &invoice.id, sequence: 1, message })
}

/// The year of a time as RFC 3339 writes it.
fn year(time: &str) -> Result<i64, Error> {
    time.split('-').next().unwrap_or_default().parse().map_err(Error::internal)
}
