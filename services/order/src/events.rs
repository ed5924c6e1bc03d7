//! What order does about the facts of others: what a provider told about a payment wakes the order that waits for it, and
//! an order whose money is gone before everything was shipped is undone.

use contracts::payment::v1::{Payment, PaymentEvent, payment_event::Event as Fact};
use kit::{Error, Scope};
use storage::{Event, Unit, consumer::Handler};

use crate::{
    Service, charging,
    order::{Command, State},
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
            _ => Ok(()),
        }
    }
}

impl Reactions {
    /// Undoes what was not shipped of an order that waits to be. While something else is under way on it, whoever ships
    /// the rest sees that the money is gone. What was let go by the order itself is no news to it.
    async fn undo(&self, unit: &mut Unit, payment: &Payment) -> Result<(), Error> {
        let order = match store::lock(unit, &Scope::All, &payment.order_id).await {
            Err(error) if error.code() == tonic::Code::NotFound => return Ok(()),
            order => order?,
        };
        let waits = matches!(order.state, State::Confirmed | State::PartiallyFulfilled) && order.saga.is_idle();
        if waits && order.purchase().is_some_and(|purchase| purchase.message().payment_id == payment.id) {
            let why = steps::why(&charging::gone(payment));
            let command = Command::MoneyGone(why, unit.now() + self.0.0.settings.stuck_after);
            self.0.change(unit, &order, command, Vec::new()).await?;
        }
        Ok(())
    }
}
