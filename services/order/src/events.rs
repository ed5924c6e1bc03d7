//! What order does about the facts of others: what a provider told about a payment wakes the order that waits for it.

use contracts::payment::v1::{PaymentEvent, payment_event::Event as Fact};
use kit::Error;
use storage::{Event, Unit, consumer::Handler};

use crate::store;

/// The topics that order follows.
pub const TOPICS: &[&str] = &["payment-events"];

/// Reacts to the facts of others.
pub struct Reactions;

impl Handler for Reactions {
    async fn handle(&self, unit: &mut Unit, event: &Event) -> Result<(), Error> {
        let PaymentEvent { payment: Some(payment), event: Some(fact) } = event.decode()? else { return Ok(()) };
        match fact {
            // The wallet answers whoever asks: nobody waits for it.
            _ if payment.payment_method_id.is_empty() => Ok(()),
            Fact::PaymentSuccess(_) | Fact::PaymentFailed(_) | Fact::PaymentActionRequired(_) => {
                store::wake(unit, &payment.order_id).await
            }
            _ => Ok(()),
        }
    }
}
