//! What inventory, payment and the ledger have for orders, read page by page.

use std::collections::HashMap;

use contracts::{
    inventory::v1::{self as inventory, Reservation, inventory_service_client::InventoryServiceClient, reservation},
    ledger::v1::{self as ledger, Hold, hold, ledger_service_client::LedgerServiceClient},
    payment::v1::{self as payment, Payment, payment_service_client::PaymentServiceClient},
};
use futures::{StreamExt as _, TryStreamExt as _};
use kit::Error;

use crate::{Service, steps::ask};

/// The largest page.
pub const PAGE: i32 = 200;
/// How many pages of each kind are read: fifty thousand things.
pub const PAGES: usize = 250;
/// How many things are asked for at once.
const AT_ONCE: usize = 16;

/// What is set aside, secured and taken at this moment.
#[derive(Default)]
pub struct Held {
    /// The reservations that are held.
    pub reservations: HashMap<String, Reservation>,
    /// The reservations of which everything was shipped that is.
    pub committed: HashMap<String, Reservation>,
    /// The payments that are secured, and those that have ended.
    pub payments: HashMap<String, Payment>,
    /// The holds of the ledger that have not ended.
    pub holds: Vec<Hold>,
    /// What there is too much of to read all of it.
    pub unread: Vec<&'static str>,
}

/// Reads what there is.
///
/// # Errors
/// What keeps one of them from answering.
pub async fn read(service: &Service) -> Result<Held, Error> {
    use payment::payment::State as Paid;
    let mut held = Held::default();
    if !reservations(service, reservation::State::Held, &mut held.reservations).await? {
        held.unread.push("reservations that are held");
    }
    if !reservations(service, reservation::State::Committed, &mut held.committed).await? {
        held.unread.push("reservations that are committed");
    }
    if !holds(service, &mut held.holds).await? {
        held.unread.push("holds");
    }
    // After the holds, so that the payment of each is either here or has ended.
    for (state, what) in [
        (Paid::Authorized, "payments that are authorized"),
        (Paid::Captured, "payments that are captured"),
        (Paid::Voided, "payments that are voided"),
        (Paid::Failed, "payments that have failed"),
    ] {
        if !payments(service, state, &mut held.payments).await? {
            held.unread.push(what);
        }
    }
    Ok(held)
}

/// Reads what is in a state; whether that was all.
async fn reservations(
    service: &Service,
    state: reservation::State,
    found: &mut HashMap<String, Reservation>,
) -> Result<bool, Error> {
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let request = inventory::ListReservationsRequest { page_size: PAGE, page_token, state: state.into() };
        let mut inventory = InventoryServiceClient::new(service.0.inventory.clone());
        let reply = ask(inventory.list_reservations(request)).await?;
        found.extend(reply.reservations.into_iter().map(|held| (held.id.clone(), held)));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn payments(
    service: &Service,
    state: payment::payment::State,
    found: &mut HashMap<String, Payment>,
) -> Result<bool, Error> {
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let state = state.into();
        let request = payment::ListPaymentsRequest { page_size: PAGE, page_token, state, ..Default::default() };
        let mut payment = PaymentServiceClient::new(service.0.payment.clone());
        let reply = ask(payment.list_payments(request)).await?;
        found.extend(reply.payments.into_iter().map(|paid| (paid.id.clone(), paid)));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn holds(service: &Service, found: &mut Vec<Hold>) -> Result<bool, Error> {
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let request = ledger::ListHoldsRequest { page_size: PAGE, page_token, state: hold::State::Held.into() };
        let mut ledger = LedgerServiceClient::new(service.0.ledger.clone());
        let reply = ask(ledger.list_holds(request)).await?;
        found.extend(reply.holds);
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Payments by their ids, a few at a time. What does not exist is left out.
pub async fn payments_of(service: &Service, ids: Vec<String>) -> Result<HashMap<String, Payment>, Error> {
    let found = futures::stream::iter(ids)
        .map(|id| async move { payment_of(service, &id).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>();
    Ok(found.await?.into_iter().flatten().map(|paid| (paid.id.clone(), paid)).collect())
}

/// A payment, if there is one.
pub async fn payment_of(service: &Service, id: &str) -> Result<Option<Payment>, Error> {
    let mut payment = PaymentServiceClient::new(service.0.payment.clone());
    let reply = ask(payment.get_payment(payment::GetPaymentRequest { id: id.to_owned() })).await;
    known(reply.map(|reply| reply.payment))
}

/// A reservation, if there is one.
pub async fn reservation_of(service: &Service, id: &str) -> Result<Option<Reservation>, Error> {
    let mut inventory = InventoryServiceClient::new(service.0.inventory.clone());
    let reply = ask(inventory.get_reservation(inventory::GetReservationRequest { id: id.to_owned() })).await;
    known(reply.map(|reply| reply.reservation))
}

/// Nothing for what does not exist.
fn known<T>(reply: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match reply {
        Err(error) if error.code() == tonic::Code::NotFound => Ok(None),
        reply => reply,
    }
}
