//! Securing money, letting go of it, and looking at it.

use contracts::{payment::v1 as api, r#type::v1::Reason};
use kit::{Call, Error, Scope};
use storage::{Key, Session, Unit, failpoint, page};

use crate::{
    Service,
    money::Currency,
    payment::{Command, Payment, State, WALLET},
    proto,
    provider::{Provider, Token, invalid_method},
    settle::{self, Opened, not_found},
    store::{self, methods::Method, payments::Filter},
};

pub async fn process(
    service: &Service,
    request: api::ProcessPaymentRequest,
) -> Result<api::ProcessPaymentResponse, Error> {
    let db = &service.0.db;
    let known = async |session: &mut Session| store::payments::load(session, &Scope::All, &request.id).await;
    if let Some(existing) = db.read(known).await? {
        return repeated(existing, &request);
    }
    let method = match request.payment_method_id.as_str() {
        "" => None,
        id => db.read(async |session: &mut Session| store::methods::load(session, id).await).await?,
    };
    let payment = asked(service, &request, method)?;
    if payment.in_house() {
        let evidence = settle::ask(service, &payment, &Token::default()).await?;
        failpoint::hit("payment-after-ledger");
        return match settle::open(service, &payment, Command::Learn(evidence)).await? {
            Opened::New(payment) => processed(payment),
            Opened::Existing(payment) => repeated(payment, &request),
        };
    }
    match settle::open(service, &payment, Command::Ask).await? {
        Opened::Existing(payment) => repeated(payment, &request),
        Opened::New(payment) => {
            let (asking, work) = (service.clone(), payment.clone());
            let answered = service.detached(async move { settle::authorize(&asking, &work).await }).await;
            processed(or_as_it_stands(answered, payment)?)
        }
    }
}

/// What the provider has made of the payment; while it is not known, the payment as it stands. The reconciler asks again.
fn or_as_it_stands(answered: Result<Option<Payment>, Error>, payment: Payment) -> Result<Payment, Error> {
    match answered {
        Ok(Some(after)) => Ok(after),
        Ok(None) => Ok(payment),
        Err(error) if error.retryable() => {
            tracing::warn!(payment = payment.id, %error, "the provider's answer is missing");
            Ok(payment)
        }
        Err(error) => Err(error),
    }
}

fn processed(payment: Payment) -> Result<api::ProcessPaymentResponse, Error> {
    Ok(api::ProcessPaymentResponse { payment: Some(proto::payment(&settle::answer(payment)?)) })
}

/// The payment that is asked for, before anything has happened to it.
fn asked(service: &Service, request: &api::ProcessPaymentRequest, method: Option<Method>) -> Result<Payment, Error> {
    let amount = request.amount.clone().unwrap_or_default();
    let currency = Currency::of(&amount);
    let atoms = currency.parse(&amount)?;
    let provider = if request.payment_method_id.is_empty() {
        WALLET.to_owned()
    } else {
        let usable = method.filter(|method| method.owner == request.owner_id && method.is_usable());
        let method = usable.ok_or_else(|| invalid_method("There is no such card, or it belongs to someone else."))?;
        service.provider_named(&method.provider)?.name().to_owned()
    };
    let now = service.0.db.clock().now();
    let blank = Payment::unknown(request.id.clone(), request.order_id.clone(), request.owner_id.clone(), now);
    let method_id = Some(request.payment_method_id.clone()).filter(|id| !id.is_empty());
    Ok(Payment { method_id, provider, currency, amount: atoms, ..blank })
}

/// What a repeat is answered: the payment as it stands, or the same refusal.
fn repeated(existing: Payment, request: &api::ProcessPaymentRequest) -> Result<api::ProcessPaymentResponse, Error> {
    if existing.order_id != request.order_id || existing.owner != request.owner_id {
        return Err(reused(&request.id));
    }
    if existing.currency.code.is_empty() {
        let message = "The payment was voided before it was asked for. Place another order.";
        let error = Error::new(Reason::InvalidStateTransition, message);
        return Err(error.with("payment", &existing.id).with("from", existing.state.name()));
    }
    let amount = request.amount.clone().unwrap_or_default();
    let same = existing.currency.parse(&amount).is_ok_and(|atoms| atoms == existing.amount);
    if !same || existing.method_id.as_deref().unwrap_or_default() != request.payment_method_id {
        return Err(reused(&request.id));
    }
    processed(existing)
}

pub fn reused(id: &str) -> Error {
    let message = "Something else was asked for under this id. Use another one.";
    Error::new(Reason::IdempotencyKeyReused, message).with("request_id", id)
}

pub async fn get(service: &Service, request: api::GetPaymentRequest) -> Result<api::GetPaymentResponse, Error> {
    let payment = load(service, &Call::current()?.scope()?, &request.id).await?;
    Ok(api::GetPaymentResponse { payment: Some(proto::payment(&payment)) })
}

pub async fn list(service: &Service, request: api::ListPaymentsRequest) -> Result<api::ListPaymentsResponse, Error> {
    let scope = Call::current()?.scope()?;
    let size = page::page_size(request.page_size)?;
    let owner = scope.owner().unwrap_or("everyone");
    let list = format!("payments of {owner} for {} in {}", request.order_id, request.state);
    let after = service.0.tokens.after(&request.page_token, &list)?;
    let filter = Filter { scope: &scope, order_id: &request.order_id, state: proto::named(request.state()) };
    // One more than the page, to learn whether there is another.
    let read = async |session: &mut Session| store::payments::list(session, &filter, &after, size + 1).await;
    let found = service.0.db.read(read).await?;
    let (found, next_page_token) =
        service.0.tokens.cut(found, size, &list, |payment| (payment.create_time, &payment.id));
    Ok(api::ListPaymentsResponse { payments: found.iter().map(proto::payment).collect(), next_page_token })
}

pub async fn confirm(
    service: &Service,
    request: api::ConfirmPaymentRequest,
) -> Result<api::ConfirmPaymentResponse, Error> {
    let call = Call::current()?;
    let scope = call.scope()?;
    let key = Key::of(&call, &request.request_id, &request);
    let before = load(service, &scope, &request.id).await?;
    let confirmed = service.0.db.once(key, async |unit: &mut Unit| {
        let payment = settle::lock(unit, &before.id).await?;
        let payment = match payment.decide(Command::Confirm, unit.now())? {
            Some(step) => settle::save_locked(service, unit, step).await?,
            None => payment,
        };
        Ok(api::ConfirmPaymentResponse { payment: Some(proto::payment(&payment)) })
    });
    confirmed.await?;
    let payment = load(service, &scope, &request.id).await?;
    let payment = if payment.state == State::Processing {
        let (asking, work) = (service.clone(), payment.clone());
        let answered = service.detached(async move { settle::confirm(&asking, &work).await }).await;
        or_as_it_stands(answered, payment)?
    } else {
        payment
    };
    Ok(api::ConfirmPaymentResponse { payment: Some(proto::payment(&settle::answer(payment)?)) })
}

pub async fn void(service: &Service, request: api::VoidPaymentRequest) -> Result<api::VoidPaymentResponse, Error> {
    let api::VoidPaymentRequest { id, order_id, owner_id } = request;
    let read = async |session: &mut Session| store::payments::load(session, &Scope::All, &id).await;
    let payment = match service.0.db.read(read).await? {
        Some(payment) => payment,
        None => {
            let now = service.0.db.clock().now();
            let unknown = Payment::unknown(id.clone(), order_id.clone(), owner_id.clone(), now);
            // A hold may have been made by a call that has not written its payment, or never will.
            let taken = service.0.wallet.void(&unknown).await?;
            failpoint::hit("payment-after-ledger");
            match settle::open(service, &unknown, Command::Void { taken }).await? {
                Opened::New(payment) | Opened::Existing(payment) => payment,
            }
        }
    };
    if payment.order_id != order_id || payment.owner != owner_id {
        return Err(reused(&id));
    }
    let taken = if payment.in_house() && payment.state == State::Authorized {
        let taken = service.0.wallet.void(&payment).await?;
        failpoint::hit("payment-after-ledger");
        taken
    } else {
        payment.captured
    };
    let payment = settle::change(service, &payment, Command::Void { taken }).await?;
    Ok(api::VoidPaymentResponse { payment: Some(proto::payment(&payment)) })
}

pub async fn load(service: &Service, scope: &Scope, id: &str) -> Result<Payment, Error> {
    let found =
        service.0.db.read(async |session: &mut Session| store::payments::load(session, scope, id).await).await?;
    found.ok_or_else(|| not_found("payment", id))
}
