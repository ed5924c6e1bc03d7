//! An order as the contract writes it.

use contracts::order::v1::{self as api, order_event::Event};
use kit::Error;
use storage::StoredChange;

use crate::order::{Fact, Order, Rejection, Side, State};

/// The order as callers see it.
pub fn order(order: &Order) -> api::Order {
    api::Order {
        id: order.id.clone(),
        owner_id: order.owner.clone(),
        state: state(order.state).into(),
        trade: Some(trade(order)),
        rejection: order.rejection.as_ref().map(rejection),
        sequence: order.sequence,
        create_time: Some(order.create_time.to_proto()),
        update_time: Some(order.update_time.to_proto()),
    }
}

/// A state.
pub fn state(state: State) -> api::order::State {
    match state {
        State::Pending => api::order::State::Pending,
        State::Fulfilled => api::order::State::Fulfilled,
        State::Rejected => api::order::State::Rejected,
    }
}

/// A fact about the order, which carries the order as it is now.
pub fn event(fact: Fact, about: &Order) -> api::OrderEvent {
    let event = match fact {
        Fact::Created => Event::OrderCreated(api::OrderCreated {}),
        Fact::Fulfilled => Event::OrderFulfilled(api::OrderFulfilled {}),
        Fact::TradeExecuted => Event::TradeExecuted(api::TradeExecuted { trade: Some(trade(about)) }),
        Fact::Rejected => {
            Event::OrderRejected(api::OrderRejected { rejection: about.rejection.as_ref().map(rejection) })
        }
    };
    api::OrderEvent { order: Some(order(about)), event: Some(event) }
}

fn trade(order: &Order) -> api::Trade {
    let trade = order.trade.clone();
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

/// A change as its history has it.
///
/// # Errors
/// `INTERNAL` if the history says something that no program of ours has written.
pub fn change(change: &StoredChange) -> Result<api::OrderChange, Error> {
    let from_state = match change.from.as_str() {
        "" => api::order::State::Unspecified,
        name => state(State::named(name)?),
    };
    Ok(api::OrderChange {
        sequence: change.sequence,
        from_state: from_state.into(),
        to_state: state(State::named(&change.to)?).into(),
        create_time: Some(change.time.to_proto()),
    })
}

/// Whether nothing can change any more.
pub fn is_final(order: &api::Order) -> bool {
    match order.state() {
        api::order::State::Fulfilled | api::order::State::Rejected => true,
        api::order::State::Unspecified | api::order::State::Pending => false,
    }
}
