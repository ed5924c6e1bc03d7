//! An order as the contract writes it.

use contracts::order::v1::{self as api, order_event::Event};
use kit::{Error, Scope};
use storage::StoredChange;

use crate::{
    order::{Fact, Kind, Order, Rejection, Side, State, Trade},
    origin::Origin,
    saga::{self, Saga},
};

/// The order as its owner sees it.
pub fn order(order: &Order) -> api::Order {
    let (trade, purchase) = match &order.kind {
        Kind::Trade(content) => (Some(trade(content, order)), None),
        Kind::Purchase(content) => (None, Some(content.message().clone())),
    };
    // What is being undone was refused already, but the order has not ended yet.
    let refused = order.rejection.as_ref().filter(|_| order.state.is_final());
    api::Order {
        id: order.id.clone(),
        owner_id: order.owner.clone(),
        state: state(order.state).into(),
        trade,
        rejection: refused.map(rejection),
        sequence: order.sequence,
        create_time: Some(order.create_time.to_proto()),
        update_time: Some(order.update_time.to_proto()),
        purchase,
    }
}

/// The order as facts and its history have it: without personal data, and without what lets others confirm the payment.
pub fn order_without_address(about: &Order) -> api::Order {
    let mut order = order(about);
    if let Some(purchase) = &mut order.purchase {
        purchase.shipping_address = None;
        purchase.action_url = String::new();
    }
    order
}

/// The return as facts have it: without the words that people wrote.
pub fn return_without_words(content: &api::Return) -> api::Return {
    api::Return { note: String::new(), rejection: String::new(), ..content.clone() }
}

/// A state.
pub fn state(state: State) -> api::order::State {
    match state {
        State::Pending => api::order::State::Pending,
        State::Confirmed => api::order::State::Confirmed,
        State::PartiallyFulfilled => api::order::State::PartiallyFulfilled,
        State::Fulfilled => api::order::State::Fulfilled,
        State::Completed => api::order::State::Completed,
        State::Cancelling => api::order::State::Cancelling,
        State::Cancelled => api::order::State::Cancelled,
        State::Rejected => api::order::State::Rejected,
    }
}

/// A state that was asked for; nothing for none.
pub fn asked_state(asked: api::order::State) -> Option<State> {
    State::ALL.into_iter().find(|known| state(*known) == asked)
}

/// What became true about an order.
pub fn event(fact: Fact, about: &Order) -> Event {
    match fact {
        Fact::Created => Event::OrderCreated(api::OrderCreated {}),
        Fact::Confirmed => Event::OrderConfirmed(api::OrderConfirmed {}),
        Fact::PartiallyFulfilled => Event::OrderPartiallyFulfilled(api::OrderPartiallyFulfilled {}),
        Fact::Fulfilled => Event::OrderFulfilled(api::OrderFulfilled {}),
        Fact::Cancelled => Event::OrderCancelled(api::OrderCancelled {}),
        Fact::Completed => Event::OrderCompleted(api::OrderCompleted {}),
        Fact::Updated => Event::OrderUpdated(api::OrderUpdated {}),
        Fact::TradeExecuted => {
            let executed = match &about.kind {
                Kind::Trade(content) => Some(trade(content, about)),
                Kind::Purchase(_) => None,
            };
            Event::TradeExecuted(api::TradeExecuted { trade: executed })
        }
        Fact::Rejected => {
            Event::OrderRejected(api::OrderRejected { rejection: about.rejection.as_ref().map(rejection) })
        }
    }
}

fn trade(trade: &Trade, order: &Order) -> api::Trade {
    let trade = trade.clone();
    let side = match trade.side {
        Side::Buy => api::Side::Buy,
        Side::Sell => api::Side::Sell,
    };
    api::Trade {
        side: side.into(),
        quantity: Some(trade.quantity),
        price: Some(trade.price),
        notional: Some(trade.notional),
        fee: Some(trade.fee),
        total: Some(trade.total),
        transaction_id: order.transaction_id.clone().unwrap_or_default(),
    }
}

fn rejection(rejection: &Rejection) -> api::Rejection {
    api::Rejection { reason: rejection.reason.clone(), message: rejection.message.clone() }
}

/// What is under way on an order.
pub fn saga(order: &Order) -> api::Saga {
    let saga = &order.saga;
    let Saga { step, attempts, deadline, last_error, next_attempt, .. } = saga.clone();
    api::Saga {
        order_id: order.id.clone(),
        state: saga_state(saga.state).into(),
        step,
        attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
        last_error: last_error.as_ref().map(rejection),
        next_attempt_time: next_attempt.map(kit::Timestamp::to_proto),
        deadline: deadline.map(kit::Timestamp::to_proto),
    }
}

/// The state of a saga.
pub fn saga_state(state: saga::State) -> api::saga::State {
    match state {
        saga::State::Running => api::saga::State::Running,
        saga::State::Compensating => api::saga::State::Compensating,
        saga::State::Succeeded => api::saga::State::Succeeded,
        saga::State::Compensated => api::saga::State::Compensated,
        saga::State::Stuck => api::saga::State::Stuck,
    }
}

/// A change as its history has it, as far as the scope goes.
///
/// # Errors
/// `INTERNAL` if the history says something that no program of ours has written.
pub fn change(change: &StoredChange, scope: &Scope) -> Result<api::OrderChange, Error> {
    let origin = Origin::read(&change.detail)?;
    let from_state = match change.from.as_str() {
        "" => api::order::State::Unspecified,
        name => state(State::named(name)?),
    };
    Ok(api::OrderChange {
        sequence: change.sequence,
        from_state: from_state.into(),
        to_state: state(State::named(&change.to)?).into(),
        create_time: Some(change.time.to_proto()),
        cause: origin.cause().into(),
        actor: origin.seen_by(scope).to_owned(),
    })
}

/// Whether the order is carried out, refused or undone.
pub fn is_final(order: &api::Order) -> bool {
    asked_state(order.state()).is_some_and(State::is_final)
}
