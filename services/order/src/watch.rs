//! Streams of an order: as it stands, then each change after a number, read from its history. Hints only make it quick.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::{
    order::v1::{self as api, WatchOrderResponse},
    r#type::v1::Reason,
};
use futures::stream::{BoxStream, StreamExt};
use kit::{Error, Scope};
use prost::Message;
use storage::{Session, StoredChange};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use crate::{Service, order::Order, origin::Origin, proto};

/// How often a watcher looks without a hint: other replicas commit unheard.
const TICK: Duration = Duration::from_secs(1);
/// How many changes one look reads.
const BATCH: i64 = 100;

/// How many streams each caller has open.
#[derive(Clone)]
pub struct Seats {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    limit: usize,
}

/// One open stream; given back when dropped.
pub struct Seat {
    seats: Seats,
    principal: String,
}

impl Seats {
    /// At most `limit` streams for each caller.
    pub fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// Opens a stream for a caller.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` if it has too many.
    pub fn take(&self, principal: &str) -> Result<Seat, Error> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(principal.to_owned()).or_default();
        if *count >= self.limit {
            let message = format!("You watch {} orders already. End one of these streams first.", self.limit);
            return Err(Error::new(Reason::LimitExceeded, message).with("limit", self.limit.to_string()));
        }
        *count += 1;
        Ok(Seat { seats: self.clone(), principal: principal.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.principal);
            }
        }
    }
}

/// The order as it stands if `after` is zero, then every change after that number. Ends once the order is carried out,
/// refused or undone, at the maximum age, and on drain: a client resumes with the last number it has seen.
pub fn order(
    service: Service,
    order: Order,
    after: i64,
    seat: Seat,
) -> BoxStream<'static, Result<WatchOrderResponse, Status>> {
    let stream = async_stream::try_stream! {
        let _seat = seat;
        let end = Instant::now() + service.0.settings.watch_age_max;
        let mut drained = service.0.drained.subscribe();
        // Subscribed before the first look, so that no commit falls between.
        let mut hints = service.0.db.changed(&order.id);
        let (id, mut after) = (order.id.clone(), after);
        // The history leaves it out, and it never changes.
        let address = order.purchase().and_then(|purchase| purchase.message().shipping_address.clone());
        if after == 0 {
            after = order.sequence;
            yield WatchOrderResponse { sequence: after, order: Some(proto::order(&order)), ..Default::default() };
        }
        let mut finished = order.state.is_final() && after >= order.sequence;
        while !finished {
            for change in changes(&service, &id, after).await? {
                after = change.sequence;
                let mut order = api::Order::decode(change.detail.as_slice()).map_err(Error::internal)?;
                let action_url = action_url(&service, &order).await?;
                if let Some(purchase) = &mut order.purchase {
                    purchase.shipping_address.clone_from(&address);
                    purchase.action_url = action_url;
                }
                finished = proto::is_final(&order);
                let cause = Origin::read(&change.detail)?.cause().into();
                yield WatchOrderResponse { sequence: after, order: Some(order), cause };
            }
            if finished {
                break;
            }
            tokio::select! {
                _ = hints.changed() => {}
                () = sleep(TICK) => {}
                () = sleep_until(end) => break,
                _ = drained.wait_for(|drained| *drained) => break,
            }
        }
    };
    stream.boxed()
}

/// Where the buyer confirms the payment. The history leaves it out, so the order is asked, unless it waits no more.
async fn action_url(service: &Service, change: &api::Order) -> Result<String, Error> {
    if change.state() != api::order::State::Pending || change.purchase.is_none() {
        return Ok(String::new());
    }
    let order = service.load(&Scope::All, &change.id).await?;
    Ok(order.purchase().map(|purchase| purchase.message().action_url.clone()).unwrap_or_default())
}

async fn changes(service: &Service, id: &str, after: i64) -> Result<Vec<StoredChange>, Error> {
    service.0.db.read(async |session: &mut Session| storage::history(session, id, after, BATCH).await).await
}
