//! What inventory, payment and the ledger have for orders, read page by page.

use std::collections::HashMap;

use contracts::{
    inventory::v1::{self as inventory, Reservation, inventory_service_client::InventoryServiceClient, reservation},
    ledger::v1::{self as ledger, Hold, hold, ledger_service_client::LedgerServiceClient},
    payment::v1::{self as payment, Payment, payment::State as Paid, payment_service_client::PaymentServiceClient},
};
use futures::{StreamExt as _, TryStreamExt as _};
use kit::Error;
use tokio::time::Instant;

use crate::{Service, steps::ask};

/// The largest page.
pub const PAGE: i32 = 200;
/// How many pages of what has ended are read ahead.
const PAGES: usize = 250;
/// How many things of a kind are remembered.
const KNOWN: usize = 200_000;
/// How many things are asked for at once.
const AT_ONCE: usize = 16;

/// What is known of what is set aside, secured and taken. It spares asking for each thing, and need not be all.
#[derive(Default)]
pub struct Held {
    /// Reservations that are held, and those of which everything was shipped that is.
    pub reservations: HashMap<String, Reservation>,
    /// Payments that are secured, and those that have ended.
    pub payments: HashMap<String, Payment>,
}

impl Held {
    /// Remembers reservations, while there is room.
    pub fn know_reservations(&mut self, found: Vec<Reservation>) {
        let room = KNOWN.saturating_sub(self.reservations.len());
        self.reservations.extend(found.into_iter().take(room).map(|held| (held.id.clone(), held)));
    }

    /// Remembers payments, while there is room.
    pub fn know_payments(&mut self, found: Vec<Payment>) {
        let room = KNOWN.saturating_sub(self.payments.len());
        self.payments.extend(found.into_iter().take(room).map(|paid| (paid.id.clone(), paid)));
    }

    /// Reads the newest of what has ended: fifty thousand of each, or as many as there is time for.
    ///
    /// # Errors
    /// What keeps one of them from answering.
    pub async fn fill(&mut self, service: &Service, end: Option<Instant>) -> Result<(), Error> {
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        let mut page_token = String::new();
        for _ in 0..PAGES {
            let (found, next) = reservations(service, reservation::State::Committed, page_token).await?;
            self.know_reservations(found);
            page_token = next;
            if page_token.is_empty() || is_over() {
                break;
            }
        }
        for state in [Paid::Voided, Paid::Failed] {
            let mut page_token = String::new();
            for _ in 0..PAGES {
                let (found, next) = payments(service, state, page_token).await?;
                self.know_payments(found);
                page_token = next;
                if page_token.is_empty() || is_over() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A page of what is in a state, and where the next begins.
///
/// # Errors
/// What keeps inventory from answering.
pub async fn reservations(
    service: &Service,
    state: reservation::State,
    page_token: String,
) -> Result<(Vec<Reservation>, String), Error> {
    let request = inventory::ListReservationsRequest { page_size: PAGE, page_token, state: state.into() };
    let mut inventory = InventoryServiceClient::new(service.0.inventory.clone());
    let reply = ask(inventory.list_reservations(request)).await?;
    Ok((reply.reservations, reply.next_page_token))
}

/// The same of payments.
///
/// # Errors
/// What keeps payment from answering.
pub async fn payments(service: &Service, state: Paid, page_token: String) -> Result<(Vec<Payment>, String), Error> {
    let state = state.into();
    let request = payment::ListPaymentsRequest { page_size: PAGE, page_token, state, ..Default::default() };
    let mut payment = PaymentServiceClient::new(service.0.payment.clone());
    let reply = ask(payment.list_payments(request)).await?;
    Ok((reply.payments, reply.next_page_token))
}

/// The same of the holds of the ledger that have not ended.
///
/// # Errors
/// What keeps the ledger from answering.
pub async fn holds(service: &Service, page_token: String) -> Result<(Vec<Hold>, String), Error> {
    let request = ledger::ListHoldsRequest { page_size: PAGE, page_token, state: hold::State::Held.into() };
    let mut ledger = LedgerServiceClient::new(service.0.ledger.clone());
    let reply = ask(ledger.list_holds(request)).await?;
    Ok((reply.holds, reply.next_page_token))
}

/// Payments by their ids, a few at a time. What does not exist is left out.
pub async fn payments_of(service: &Service, ids: Vec<String>) -> Result<HashMap<String, Payment>, Error> {
    let found = futures::stream::iter(ids)
        .map(|id| async move { payment_of(service, &id).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>();
    Ok(found.await?.into_iter().flatten().map(|paid| (paid.id.clone(), paid)).collect())
}

/// Reservations by their ids, in the same way.
pub async fn reservations_of(service: &Service, ids: Vec<String>) -> Result<HashMap<String, Reservation>, Error> {
    let found = futures::stream::iter(ids)
        .map(|id| async move { reservation_of(service, &id).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>();
    Ok(found.await?.into_iter().flatten().map(|held| (held.id.clone(), held)).collect())
}

/// A payment, if there is one.
async fn payment_of(service: &Service, id: &str) -> Result<Option<Payment>, Error> {
    let mut payment = PaymentServiceClient::new(service.0.payment.clone());
    let reply = ask(payment.get_payment(payment::GetPaymentRequest { id: id.to_owned() })).await;
    known(reply.map(|reply| reply.payment))
}

/// A reservation, if there is one.
async fn reservation_of(service: &Service, id: &str) -> Result<Option<Reservation>, Error> {
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
