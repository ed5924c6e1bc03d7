//! Cards. What is on them goes to the provider from here, and nowhere else.

use contracts::{payment::v1 as api, r#type::v1::Reason};
use kit::{Call, Error, config::Secret};
use storage::{Key, Session, Unit};

use crate::{
    Service, proto,
    provider::{Card, has_check_digit, invalid_method},
    settle::not_found,
    store::{self, methods::Method},
};

/// How many cards someone may have.
const CARDS_MAX: i64 = 50;

pub async fn create(
    service: &Service,
    request: api::CreatePaymentMethodRequest,
) -> Result<api::CreatePaymentMethodResponse, Error> {
    let api::CreatePaymentMethodRequest { number, expire_month, expire_year, security_code } = request;
    let card =
        Card { number: Secret::new(number), security_code: Secret::new(security_code), expire_month, expire_year };
    let call = Call::current()?;
    let owner = call.user()?;
    check(service, &card)?;
    let cards = service.cards()?;
    // Counted before the provider is asked; two at once may be one too many, which harms nobody.
    let count = async |session: &mut Session| store::methods::list(session, owner, CARDS_MAX).await;
    if service.0.db.read(count).await?.len() >= usize::try_from(CARDS_MAX).unwrap_or(usize::MAX) {
        let message = format!("You have {CARDS_MAX} cards, which is as many as can be kept. Remove one first.");
        return Err(Error::new(Reason::LimitExceeded, message).with("max", CARDS_MAX.to_string()));
    }
    let token = cards.tokenize(&card).await?;
    let saved = service.0.db.write(async |unit: &mut Unit| {
        let method = Method {
            id: kit::id::new("pmt", unit.now()),
            owner: owner.to_owned(),
            provider: cards.name().to_owned(),
            token: token.token.clone(),
            brand: token.brand.clone(),
            last_four: token.last_four.clone(),
            expire_month: expire_month.into(),
            expire_year: expire_year.into(),
            create_time: unit.now(),
            deleted: false,
        };
        store::methods::insert(unit, &method).await?;
        Ok(method)
    });
    Ok(api::CreatePaymentMethodResponse { payment_method: Some(proto::method(&saved.await?)) })
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
