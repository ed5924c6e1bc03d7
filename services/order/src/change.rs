//! Changing an order within a unit.

use contracts::{order::v1::order_event::Event, r#type::v1::Reason};
use kit::Error;
use storage::Unit;

use crate::{
    Service,
    order::{Command, Order},
    origin, proto,
    saga::{Saga, State},
    store,
};

impl Service {
    /// Decides on a command and saves the order with what became true, and what else there is to tell. The order was
    /// locked before.
    ///
    /// # Errors
    /// What the order refuses.
    pub(crate) async fn change(
        &self,
        unit: &mut Unit,
        before: &Order,
        command: Command,
        told: Vec<Event>,
    ) -> Result<Order, Error> {
        let cause = origin::cause(&command);
        let (after, facts) = before.decide(command, unit.now())?;
        let mut events: Vec<Event> = facts.iter().map(|fact| proto::event(*fact, &after)).collect();
        events.extend(told);
        if store::save(unit, before, &after, cause, events, self.0.settings.reconcile_after).await? {
            return Ok(after);
        }
        Err(Error::internal(format!("{} changed although it was locked", before.id)))
    }

    /// Takes up an order that is stuck, or does not let one wait any longer.
    ///
    /// # Errors
    /// `INVALID_STATE_TRANSITION` if nothing is under way.
    pub(crate) async fn take_up(&self, unit: &mut Unit, before: &Order) -> Result<Order, Error> {
        if before.saga.is_idle() {
            let from = before.saga.state.name();
            let error = Error::new(Reason::InvalidStateTransition, "Nothing is under way on this order.");
            return Err(error.with("from", from).with("to", State::Running.name()));
        }
        let state = if before.is_undone() { State::Compensating } else { State::Running };
        let settings = &self.0.settings;
        let saga = Saga {
            state,
            attempts: 0,
            deadline: match before.saga.state {
                State::Stuck => Some(unit.now() + settings.stuck_after),
                _ => before.saga.deadline,
            },
            next_attempt: Some(unit.now() + settings.reconcile_after),
            ..before.saga.clone()
        };
        if store::note(unit, before, &saga).await? {
            return Ok(Order { saga, ..before.clone() });
        }
        Err(Error::internal(format!("{} changed although it was locked", before.id)))
    }
}
