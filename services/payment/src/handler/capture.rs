//! Taking money, by shipment.

use contracts::{payment::v1 as api, r#type::v1::Reason};
use kit::{Error, Scope};
use storage::Session;

use super::payments::reused;
use crate::{
    Service,
    payment::{Payment, State},
    proto,
    settle::{self, not_found},
    store::{
        self,
        captures::{self, Capture},
    },
};

pub async fn capture(
    service: &Service,
    request: api::CapturePaymentRequest,
) -> Result<api::CapturePaymentResponse, Error> {
    let api::CapturePaymentRequest { id, shipment_id, amount, r#final: last } = request;
    let load = async |session: &mut Session| store::payments::load(session, &Scope::All, &id).await;
    let payment = service.0.db.read(load).await?.ok_or_else(|| not_found("payment", &id))?;
    // Of the wallet's payments only those have captures of which something was taken.
    let (payment, noted) = if payment.in_house() && payment.captured == 0 {
        (payment, None)
    } else {
        let both = async |session: &mut Session| {
            Ok((load(session).await?.unwrap_or(payment), captures::load(session, &id, &shipment_id).await?))
        };
        service.0.db.snapshot(both).await?
    };
    let asked = amount.map(|amount| payment.currency.parse(&amount)).transpose()?;
    let atoms = asked.unwrap_or_else(|| payment.capturable());
    let state = captures::State::Processing;
    let capture = Capture { payment_id: id, shipment_id, asked, atoms, last, state, refusal: None };
    let payment = match noted {
        Some(noted) => repeated(service, payment, noted, &capture).await?,
        None if payment.in_house() => settle::capture(service, &payment, capture).await?,
        None => {
            let (payment, noted) = settle::begin_capture(service, capture.clone()).await?;
            repeated(service, payment, noted, &capture).await?
        }
    };
    Ok(api::CapturePaymentResponse { payment: Some(proto::payment(&payment)) })
}

/// Goes on with a capture that is noted, or answers how it ended.
async fn repeated(service: &Service, payment: Payment, noted: Capture, asked: &Capture) -> Result<Payment, Error> {
    if noted.asked != asked.asked || noted.last != asked.last {
        return Err(reused(&asked.shipment_id));
    }
    match (noted.state, &noted.refusal) {
        (captures::State::Succeeded, _) => Ok(payment),
        (captures::State::Failed, Some(refusal)) => Err(refusal.clone()),
        (captures::State::Failed, None) => Err(Error::internal("a capture failed without a refusal")),
        (captures::State::Processing, _) => {
            let (asking, state) = (service.clone(), payment.state);
            let work = async move { settle::end_capture(&asking, &payment, &noted).await };
            service.detached(work).await?.ok_or_else(|| unanswered(state))
        }
    }
}

fn unanswered(state: State) -> Error {
    let message = "The provider has not answered yet. Repeat the call under the same shipment.";
    Error::new(Reason::ProviderUnavailable, message).with("from", state.name())
}
