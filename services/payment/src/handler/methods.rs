//! Cards. What is on them goes to the provider from here, and nowhere else.

use std::time::Duration;

use contracts::{payment::v1 as api, r#type::v1::Reason};
use kit::{Call, Error, config::Secret};
use storage::{Key, Session, Unit};

use super::payments::reused;
use crate::{
    Service, proto,
    provider::{Card, Token, brand, has_check_digit, invalid_method},
    settle::not_found,
    store::{
        self,
        methods::{Method, State},
    },
};

/// How many cards someone may have.
const CARDS_MAX: i64 = 50;
/// How long a refusal is remembered, for whoever repeats the request.
const REFUSAL_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

pub async fn create(
    service: &Service,
    request: api::CreatePaymentMethodRequest,
) -> Result<api::CreatePaymentMethodResponse, Error> {
    let api::CreatePaymentMethodRequest { number, expire_month, expire_year, security_code, request_id } = request;
    let card =
        Card { number: Secret::new(number), security_code: Secret::new(security_code), expire_month, expire_year };
    let call = Call::current()?;
    let owner = call.user()?;
    check(service, &card)?;
    // The id is the key: one of the request would have to be told by the number.
    let now = service.0.db.clock().now();
    let id = match request_id.as_str() {
        "" => kit::id::new("pmt", now),
        request_id => kit::id::derive("pmt", &call.principal(), request_id),
    };
    let asked = Method {
        id,
        owner: owner.to_owned(),
        provider: service.cards()?.name().to_owned(),
        token: Token::default(),
        brand: brand(card.number.reveal()).to_owned(),
        last_four: card.last_four().to_owned(),
        expire_month: expire_month.into(),
        expire_year: expire_year.into(),
        create_time: now,
        deleted: false,
        state: State::Processing,
        refusal: None,
    };
    let noted = note(service, &asked).await?;
    if !same(&noted, &asked) {
        return Err(reused(&request_id));
    }
    let kept = if noted.state == State::Processing {
        let (asking, id) = (service.clone(), noted.id);
        let work = async move { keep(&asking, &id, &card).await };
        service.detached(work).await?.ok_or_else(unanswered)?
    } else {
        noted
    };
    match kept.refusal {
        Some(refusal) => Err(refusal),
        None => Ok(api::CreatePaymentMethodResponse { payment_method: Some(proto::method(&kept)) }),
    }
}

/// Notes a card before its provider is asked to keep it. Gives back the one that was noted before, if there is one.
async fn note(service: &Service, asked: &Method) -> Result<Method, Error> {
    let work = async |unit: &mut Unit| {
        if let Some(noted) = store::methods::load(unit, &asked.id).await? {
            return Ok(noted);
        }
        // Two at once may be one too many, which harms nobody.
        if store::methods::count(unit, &asked.owner).await? >= CARDS_MAX {
            let message = format!("You have {CARDS_MAX} cards, which is as many as can be kept. Remove one first.");
            return Err(Error::new(Reason::LimitExceeded, message).with("max", CARDS_MAX.to_string()));
        }
        if store::methods::insert(unit, asked, service.soon(unit.now())).await? {
            return Ok(asked.clone());
        }
        load(unit, &asked.id).await
    };
    service.0.db.write(work).await
}

/// Whether a card was asked for before as it is asked for now, as far as is known of it.
fn same(noted: &Method, asked: &Method) -> bool {
    let known = |method: &Method| {
        let Method { owner, brand, last_four, expire_month, expire_year, .. } = method.clone();
        (owner, brand, last_four, expire_month, expire_year)
    };
    known(noted) == known(asked)
}

/// Asks the provider to keep a card that is noted, and writes what it says.
pub(crate) async fn keep(service: &Service, id: &str, card: &Card) -> Result<Method, Error> {
    let provider = service.cards()?;
    let answer = match provider.tokenize(id, card).await {
        Err(error) if !error.definitive() => return Err(error),
        answer => answer,
    };
    let work = async |unit: &mut Unit| {
        match &answer {
            Ok(token) => store::methods::keep(unit, id, token).await?,
            Err(refusal) => {
                let until = unit.now() + REFUSAL_KEPT;
                store::methods::refuse(unit, id, refusal, until).await?;
            }
        }
        store::methods::load(unit, id).await
    };
    let noted = service.0.db.write(work).await?;
    if let Ok(token) = &answer
        && noted.as_ref().is_none_or(|method| method.state != State::Ready)
    {
        // Another request under this key was refused, and its answer was noted first: nobody would pay with the card.
        provider.forget(token).await?;
    }
    noted.ok_or_else(unanswered)
}

async fn load(unit: &mut Unit, id: &str) -> Result<Method, Error> {
    store::methods::load(unit, id).await?.ok_or_else(unanswered)
}

fn unanswered() -> Error {
    let message = "The card provider has not answered yet. Repeat the call under the same request_id.";
    Error::new(Reason::ProviderUnavailable, message)
}

/// What can be seen without asking anybody. The number itself is in no message.
fn check(service: &Service, card: &Card) -> Result<(), Error> {
    if !has_check_digit(card.number.reveal()) {
        let message = "This is not the number of a card: its last digit does not fit the others. Check it for a slip.";
        return Err(Error::new(Reason::InvalidField, message).violation("number", "must end in the right check digit"));
    }
    // The date as RFC 3339 writes it, `2027-01-15T…`, compares as text.
    let today = service.0.db.clock().now().to_string();
    if format!("{:04}-{:02}~", card.expire_year, card.expire_month) < today {
        return Err(invalid_method("The card has expired. Add another one.").with("decline_code", "expired_card"));
    }
    Ok(())
}

pub async fn list(service: &Service) -> Result<api::ListPaymentMethodsResponse, Error> {
    let call = Call::current()?;
    let owner = call.user()?;
    let read = async |session: &mut Session| store::methods::list(session, owner, CARDS_MAX).await;
    let found = service.0.db.read(read).await?;
    Ok(api::ListPaymentMethodsResponse { payment_methods: found.iter().map(proto::method).collect() })
}

pub async fn delete(
    service: &Service,
    request: api::DeletePaymentMethodRequest,
) -> Result<api::DeletePaymentMethodResponse, Error> {
    let call = Call::current()?;
    let owner = call.user()?;
    let key = Key::of(&call, &request.request_id, &request);
    let deleted = service.0.db.once(key, async |unit: &mut Unit| {
        if store::methods::delete(unit, owner, &request.id).await? {
            return Ok(api::DeletePaymentMethodResponse {});
        }
        Err(not_found("card", &request.id))
    });
    deleted.await
}
