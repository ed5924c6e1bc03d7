//! What order does about the facts of others: what a provider told about a payment wakes the order that waits for it, an
//! order whose money is gone before everything was shipped is undone, and what support gives back is noted.

use contracts::payment::v1::{Payment, PaymentEvent, Refund, payment_event::Event as Fact};
use kit::{Error, Scope};
use storage::{Event, Unit, consumer::Handler};

use crate::{
    Service, charging,
    order::{Command, Order, State},
    steps, store,
};

/// The topics that order follows.
pub const TOPICS: &[&str] = &["payment-events"];

/// Reacts to the facts of others.
pub struct Reactions(pub Service);

impl Handler for Reactions {
    async fn handle(&self, unit: &mut Unit, event: &Event) -> Result<(), Error> {
        let PaymentEvent { payment: Some(payment), event: Some(fact) } = event.decode()? else { return Ok(()) };
        // The wallet answers whoever asks: nobody waits for it.
        let waited_for = !payment.payment_method_id.is_empty();
        match fact {
            Fact::PaymentSuccess(_) | Fact::PaymentActionRequired(_) if waited_for => {
                store::wake(unit, &payment.order_id).await
            }
            Fact::PaymentFailed(_) | Fact::PaymentVoided(_) => {
                if waited_for {
                    store::wake(unit, &payment.order_id).await?;
                }
                self.undo(unit, &payment).await
            }
            Fact::RefundSucceeded(told) => self.note(unit, &payment, told.refund.unwrap_or_default()).await,
            _ => Ok(()),
        }
    }
}

impl Reactions {
    /// Undoes what was not shipped of an order that waits to be. While something else is under way on it, whoever ships
    /// the rest sees that the money is gone. What was let go by the order itself is no news to it.
    async fn undo(&self, unit: &mut Unit, payment: &Payment) -> Result<(), Error> {
        let Some(order) = paid_with(unit, payment).await? else { return Ok(()) };
        let waits = matches!(order.state, State::Confirmed | State::PartiallyFulfilled) && order.saga.is_idle();
        if waits {
            let why = steps::why(&charging::gone(payment));
            let command = Command::MoneyGone(why, unit.now() + self.0.0.settings.stuck_after);
            self.0.change(unit, &order, command, Vec::new()).await?;
        }
        Ok(())
    }

    /// Notes what support has given back. What an order gives back for a return it notes with that; what was never taken for
    /// it, in its own words, it does not count.
    async fn note(&self, unit: &mut Unit, payment: &Payment, refund: Refund) -> Result<(), Error> {
        if refund.automatic {
            return Ok(());
        }
        let Some(order) = paid_with(unit, payment).await? else { return Ok(()) };
        let command = Command::RefundedBySupport(refund.amount.unwrap_or_default());
        self.0.change(unit, &order, command, Vec::new()).await.map(|_| ())
    }
}

/// The order that is paid with a payment, locked.
async fn paid_with(unit: &mut Unit, payment: &Payment) -> Result<Option<Order>, Error> {
    match store::lock(unit, &Scope::All, &payment.order_id).await {
        Err(error) if error.code() == tonic::Code::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(order) => {
            let same = order.purchase().is_some_and(|purchase| purchase.message().payment_id == payment.id);
            Ok(same.then_some(order))
        }
    }
}
