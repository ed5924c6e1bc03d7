//! Payments, refunds and cards as the contract writes them.

use contracts::{
    payment::v1::{self as api, payment_event::Event},
    r#type::v1::Amount,
};
use kit::Error;

use crate::{
    payment::{Fact, Payment, State},
    refund::{self, Refund},
    store::methods::Method,
};

/// The payment as callers see it.
pub fn payment(payment: &Payment) -> api::Payment {
    // What was never asked for has no figures.
    let money = |atoms| (!payment.currency.code.is_empty()).then(|| payment.currency.show(atoms));
    let secured = payment.expire_time.filter(|_| payment.state == State::Authorized);
    let action = payment.action_url.clone().filter(|_| payment.state == State::RequiresAction);
    api::Payment {
        id: payment.id.clone(),
        order_id: payment.order_id.clone(),
        owner_id: payment.owner.clone(),
        payment_method_id: payment.method_id.clone().unwrap_or_default(),
        provider: payment.provider.clone(),
        state: state(payment.state).into(),
        amount: money(payment.amount),
        capturable: money(payment.capturable()),
        captured: money(payment.captured),
        refunded: money(payment.refunded),
        decline: payment.refusal.as_ref().map(decline),
        action_url: action.unwrap_or_default(),
        expire_time: secured.map(kit::Timestamp::to_proto),
        sequence: payment.sequence,
        create_time: Some(payment.create_time.to_proto()),
        update_time: Some(payment.update_time.to_proto()),
    }
}

/// The refund as callers see it.
pub fn refund(refund: &Refund) -> api::Refund {
    let state = match refund.state {
        refund::State::Pending => api::refund::State::Pending,
        refund::State::Processing => api::refund::State::Processing,
        refund::State::Succeeded => api::refund::State::Succeeded,
        refund::State::Failed => api::refund::State::Failed,
    };
    api::Refund {
        id: refund.id.clone(),
        payment_id: refund.payment_id.clone(),
        order_id: refund.order_id.clone(),
        owner_id: refund.owner.clone(),
        amount: Some(refund.currency.show(refund.atoms)),
        state: state.into(),
        reference: refund.reference.clone(),
        automatic: refund.automatic,
        decline: refund.refusal.as_ref().map(decline),
        create_time: Some(refund.create_time.to_proto()),
        update_time: Some(refund.update_time.to_proto()),
    }
}

/// The card as its owner sees it.
pub fn method(method: &Method) -> api::PaymentMethod {
    api::PaymentMethod {
        id: method.id.clone(),
        provider: method.provider.clone(),
        brand: method.brand.clone(),
        last_four: method.last_four.clone(),
        expire_month: i32::try_from(method.expire_month).unwrap_or_default(),
        expire_year: i32::try_from(method.expire_year).unwrap_or_default(),
        create_time: Some(method.create_time.to_proto()),
    }
}

/// A fact about a payment, which carries the payment as it is now.
pub fn event(fact: &Fact, about: &Payment) -> api::PaymentEvent {
    let ended = |about: &Refund| Some(refund(about));
    let event = match fact {
        Fact::Initiated => Event::PaymentInitiated(api::PaymentInitiated {}),
        Fact::ActionRequired => Event::PaymentActionRequired(api::PaymentActionRequired {}),
        Fact::Success => Event::PaymentSuccess(api::PaymentSuccess {}),
        Fact::Failed => Event::PaymentFailed(api::PaymentFailed { decline: about.refusal.as_ref().map(decline) }),
        Fact::Captured(atoms) => {
            let amount: Option<Amount> = Some(about.currency.show(*atoms));
            Event::PaymentCaptured(api::PaymentCaptured { amount })
        }
        Fact::Voided => Event::PaymentVoided(api::PaymentVoided {}),
        Fact::RefundSucceeded(refund) => Event::RefundSucceeded(api::RefundSucceeded { refund: ended(refund) }),
        Fact::RefundFailed(refund) => Event::RefundFailed(api::RefundFailed { refund: ended(refund) }),
    };
    api::PaymentEvent { payment: Some(payment(about)), event: Some(event) }
}

/// The state that a list is to be cut down to.
pub fn named(state: api::payment::State) -> Option<State> {
    match state {
        api::payment::State::Unspecified => None,
        api::payment::State::Pending => Some(State::Pending),
        api::payment::State::RequiresAction => Some(State::RequiresAction),
        api::payment::State::Processing => Some(State::Processing),
        api::payment::State::Authorized => Some(State::Authorized),
        api::payment::State::Captured => Some(State::Captured),
        api::payment::State::Failed => Some(State::Failed),
        api::payment::State::Voided => Some(State::Voided),
    }
}

fn state(state: State) -> api::payment::State {
    match state {
        State::Pending => api::payment::State::Pending,
        State::RequiresAction => api::payment::State::RequiresAction,
        State::Processing => api::payment::State::Processing,
        State::Authorized => api::payment::State::Authorized,
        State::Captured => api::payment::State::Captured,
        State::Failed => api::payment::State::Failed,
        State::Voided => api::payment::State::Voided,
    }
}

/// A refusal by the wallet has no code of a provider: its reason, written as one, stands in.
fn decline(refusal: &Error) -> api::Decline {
    let code = refusal.metadata("decline_code").map_or_else(|| refusal.reason().to_lowercase(), str::to_owned);
    api::Decline { code, message: refusal.message().to_owned() }
}
