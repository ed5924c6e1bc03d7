//! Giving money back.

use contracts::payment::v1 as api;
use kit::{Call, Error, Scope};
use storage::{Key, Session, Unit, page};

use super::payments::reused;
use crate::{
    Service,
    payment::Command,
    proto,
    refund::{self, Refund, State},
    settle::{self, not_found},
    store,
};

pub async fn create(service: &Service, request: api::CreateRefundRequest) -> Result<api::CreateRefundResponse, Error> {
    let call = Call::current()?;
    let key = Key::of(&call, &request.request_id, &request);
    // Derived from who asks and how: keys are swept after a while, and a repeat still means the refund of then.
    let id = match &key {
        Some(key) => kit::id::derive("rfd", &key.principal, &key.request_id),
        None => kit::id::new("rfd", service.0.db.clock().now()),
    };
    let created = service.0.db.once(key, async |unit: &mut Unit| {
        let refund = ask(service, unit, &id, &request).await?;
        Ok(api::CreateRefundResponse { refund: Some(proto::refund(&refund)) })
    });
    // A repeat finds which refund it asked for, and is told how that stands.
    let id = created.await?.refund.unwrap_or_default().id;
    let refund = load(service, &Scope::All, &id).await?;
    let refund = if refund.state == State::Processing {
        let asking = service.clone();
        let refunding = service.detached(async move { settle::refund(&asking, &id).await }).await;
        match refunding {
            Ok(ended) => ended.unwrap_or(refund),
            Err(error) if error.retryable() => {
                tracing::warn!(refund = refund.id, %error, "the provider's answer to a refund is missing");
                refund
            }
            Err(error) => return Err(error),
        }
    } else {
        refund
    };
    Ok(api::CreateRefundResponse { refund: Some(proto::refund(&refund)) })
}

/// Notes a refund that is about to be asked for, under the lock of its payment; or finds it, if it was noted before.
async fn ask(
    service: &Service,
    unit: &mut Unit,
    id: &str,
    request: &api::CreateRefundRequest,
) -> Result<Refund, Error> {
    let payment = settle::lock(unit, &request.payment_id).await?;
    let asked = request.amount.as_ref().map(|amount| payment.currency.parse(amount)).transpose();
    let asked = asked.map_err(|refusal| refusal.at_amount("amount"))?;
    if let Some(known) = store::refunds::load(unit, &Scope::All, id).await? {
        let same = known.payment_id == request.payment_id
            && known.reference == request.reference
            && asked.is_none_or(|atoms| atoms == known.atoms);
        return if same { Ok(known) } else { Err(reused(&request.request_id)) };
    }
    let atoms = asked.unwrap_or(payment.captured - payment.refunded);
    let now = unit.now();
    let noted = Refund {
        id: id.to_owned(),
        payment_id: payment.id.clone(),
        order_id: payment.order_id.clone(),
        owner: payment.owner.clone(),
        currency: payment.currency.clone(),
        atoms,
        state: State::Pending,
        reference: request.reference.clone(),
        automatic: Call::current()?.caller.is_none(),
        refusal: None,
        sequence: 0,
        create_time: now,
        update_time: now,
    };
    if let Some(step) = payment.decide(Command::Refund { atoms }, now)? {
        settle::save_locked(service, unit, step).await?;
    }
    let asked = noted.decide(refund::Command::Ask, now)?.unwrap_or(noted);
    if store::refunds::insert(unit, State::Pending, &asked, service.soon(now)).await? {
        return Ok(asked);
    }
    // Our payment is locked: whoever was faster asked for another one's.
    Err(reused(&request.request_id))
}

pub async fn get(service: &Service, request: api::GetRefundRequest) -> Result<api::GetRefundResponse, Error> {
    let refund = load(service, &Call::current()?.scope()?, &request.id).await?;
    Ok(api::GetRefundResponse { refund: Some(proto::refund(&refund)) })
}

pub async fn list(service: &Service, request: api::ListRefundsRequest) -> Result<api::ListRefundsResponse, Error> {
    let scope = Call::current()?.scope()?;
    let size = page::page_size(request.page_size)?;
    let list = format!("refunds of {} of {}", request.payment_id, scope.owner().unwrap_or("everyone"));
    let after = service.0.tokens.after(&request.page_token, &list)?;
    // One more than the page, to learn whether there is another.
    let read = async |session: &mut Session| {
        store::refunds::list(session, &scope, &request.payment_id, &after, size + 1).await
    };
    let found = service.0.db.read(read).await?;
    let (found, next_page_token) = service.0.tokens.cut(found, size, &list, |refund| (refund.create_time, &refund.id));
    Ok(api::ListRefundsResponse { refunds: found.iter().map(proto::refund).collect(), next_page_token })
}

async fn load(service: &Service, scope: &Scope, id: &str) -> Result<Refund, Error> {
    let found = service.0.db.read(async |session: &mut Session| store::refunds::load(session, scope, id).await).await?;
    found.ok_or_else(|| not_found("refund", id))
}
