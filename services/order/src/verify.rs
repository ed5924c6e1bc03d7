//! Asking everyone again: nothing is set aside without an order that needs it (INV-5), and what orders say is what
//! inventory and payment say (INV-8). What is still moving is left out: a check compares things that were read one after
//! the other.

use std::collections::HashMap;

use contracts::{
    inventory::v1::{self as inventory, Reservation, inventory_service_client::InventoryServiceClient, reservation},
    ledger::v1::{self as ledger, Hold, hold, ledger_service_client::LedgerServiceClient},
    order::v1::VerifyOrdersResponse,
    payment::v1::{self as payment, Payment, payment_service_client::PaymentServiceClient},
};
use kit::{Error, Scope, Timestamp};

use crate::{
    Service,
    order::{Order, State},
    purchase::Purchase,
    steps::ask,
    store,
};

/// How many problems are told.
const PROBLEMS: usize = 100;
/// The largest page.
const PAGE: i32 = 200;
/// How many pages of each kind are read: ten thousand things.
const PAGES: usize = 50;

/// What is set aside and secured at this moment.
struct Held {
    reservations: HashMap<String, Reservation>,
    payments: HashMap<String, Payment>,
    holds: Vec<Hold>,
    /// Whether all of it was read.
    complete: bool,
}

struct Check<'a> {
    service: &'a Service,
    /// What changed later is left out.
    since: Timestamp,
    problems: Vec<String>,
}

/// Checks orders against inventory, payment and the ledger.
///
/// # Errors
/// What keeps one of them from answering.
pub async fn orders(service: &Service) -> Result<VerifyOrdersResponse, Error> {
    let now = service.0.db.clock().now();
    let mut check = Check { service, since: now - service.0.settings.settled_after, problems: Vec::new() };
    let held = held(service).await?;
    check.orphans(&held, now).await?;
    let order_count = check.orders(&held).await?;
    let mut problems = check.problems;
    problems.truncate(PROBLEMS);
    Ok(VerifyOrdersResponse { holds: problems.is_empty(), order_count, problems })
}

impl Check<'_> {
    /// Reservations, payments and holds that nobody needs and that do not end by themselves.
    async fn orphans(&mut self, held: &Held, now: Timestamp) -> Result<(), Error> {
        for reservation in held.reservations.values() {
            let ends = reservation.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > now);
            if !ends && self.rests(reservation.update_time.as_ref().map(Timestamp::from_proto)) {
                let what = format!("{} is held", reservation.id);
                self.must_be_needed(&reservation.reference, &what).await?;
            }
        }
        for payment in held.payments.values() {
            if self.rests(payment.update_time.as_ref().map(Timestamp::from_proto)) {
                let what = format!("{} is authorized", payment.id);
                self.must_be_needed(&payment.order_id, &what).await?;
            }
        }
        for hold in &held.holds {
            let orphan = hold.reference.starts_with("pay_") && !held.payments.contains_key(&hold.reference);
            let ends = hold.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > now);
            if held.complete && orphan && !ends && self.rests(hold.update_time.as_ref().map(Timestamp::from_proto)) {
                self.hold_must_be_needed(hold).await?;
            }
        }
        Ok(())
    }

    async fn must_be_needed(&mut self, order_id: &str, what: &str) -> Result<(), Error> {
        let read = async |session: &mut storage::Session| store::load(session, &Scope::All, order_id).await;
        let problem = match self.service.0.db.read(read).await? {
            None => format!("INV-5: {what}, but there is no order {order_id}."),
            Some(order) if order.update_time > self.since || needs(&order) => return Ok(()),
            Some(order) => format!("INV-5: {what}, but {order_id} is {} and needs it no more.", order.state.name()),
        };
        self.problems.push(problem);
        Ok(())
    }

    /// The payment may have been secured after payments were read.
    async fn hold_must_be_needed(&mut self, hold: &Hold) -> Result<(), Error> {
        let state = match get_payment(self.service, &hold.reference).await? {
            Some(payment) if !ended(payment.state()) => return Ok(()),
            Some(payment) => payment.state().as_str_name(),
            None => "unknown",
        };
        let problem = format!("INV-5: {} is held, but {} is {state}.", hold.id, hold.reference);
        self.problems.push(problem);
        Ok(())
    }

    /// Orders against what they should have. Gives back how many.
    async fn orders(&mut self, held: &Held) -> Result<i64, Error> {
        // Above every id.
        let (mut count, mut before) = (0, "ord_~".to_owned());
        for _ in 0..PAGES {
            let read =
                async |session: &mut storage::Session| store::settled(session, self.since, &before, PAGE.into()).await;
            let page = self.service.0.db.read(read).await?;
            let Some(last) = page.last() else { break };
            before.clone_from(&last.id);
            for order in &page {
                if self.problems.len() >= PROBLEMS {
                    return Ok(count);
                }
                count += 1;
                if let Some(purchase) = order.purchase().filter(|_| order.saga.is_idle()) {
                    self.order(order, purchase, held).await?;
                }
            }
        }
        Ok(count)
    }

    async fn order(&mut self, order: &Order, purchase: &Purchase, held: &Held) -> Result<(), Error> {
        let content = purchase.message();
        let goods_left = purchase.left().iter().any(|pieces| purchase.is_physical(&pieces.variant_id));
        let in_stock = held.reservations.contains_key(&content.reservation_id);
        if needs(order) && goods_left && !in_stock {
            let found = get_reservation(self.service, &content.reservation_id).await?;
            if found.as_ref().is_none_or(|reservation| reservation.state() != reservation::State::Held) {
                let state = found.map_or("unknown", |reservation| reservation.state().as_str_name());
                self.found(order, &format!("its reservation {} is {state}", content.reservation_id)).await?;
            }
        }
        if content.payment_id.is_empty() {
            return Ok(());
        }
        let secured = held.payments.get(&content.payment_id);
        let Some(payment) = (match secured {
            Some(payment) => Some(payment.clone()),
            None => get_payment(self.service, &content.payment_id).await?,
        }) else {
            // One that was refused before the payment was asked for has none.
            return match order.state {
                State::Rejected | State::Cancelled => Ok(()),
                _ => self.found(order, &format!("its payment {} does not exist", content.payment_id)).await,
            };
        };
        self.payment(order, purchase, &payment).await
    }

    async fn payment(&mut self, order: &Order, purchase: &Purchase, payment: &Payment) -> Result<(), Error> {
        let [captured, refunded] = [&payment.captured, &payment.refunded].map(|amount| purchase.atoms(amount.as_ref()));
        let (captured, refunded) = (captured?, refunded?);
        let ours = purchase.message();
        let (taken, given) = (purchase.atoms(ours.captured.as_ref())?, purchase.atoms(ours.refunded.as_ref())?);
        let problem = match order.state {
            State::Rejected | State::Cancelled if captured != refunded => "money was taken and not given back",
            State::Rejected | State::Cancelled if !ended(payment.state()) => "its payment has not ended",
            State::Rejected | State::Cancelled => return Ok(()),
            _ if captured != taken => "another amount was taken than it says",
            // Support may have given back more.
            _ if refunded < given => "less was given back than it says",
            _ if needs(order) && ended(payment.state()) && purchase.total()? > captured => "its payment has ended",
            _ => return Ok(()),
        };
        self.found(order, &format!("{problem} ({})", payment.id)).await
    }

    /// Notes a problem, unless the order has moved on since it was read.
    async fn found(&mut self, order: &Order, problem: &str) -> Result<(), Error> {
        let read = async |session: &mut storage::Session| store::load(session, &Scope::All, &order.id).await;
        let now = self.service.0.db.read(read).await?;
        if now.is_some_and(|now| now.sequence == order.sequence) {
            self.problems.push(format!("INV-8: {} is {}, but {problem}.", order.id, order.state.name()));
        }
        Ok(())
    }

    fn rests(&self, update_time: Option<Timestamp>) -> bool {
        update_time.is_none_or(|time| time <= self.since)
    }
}

/// Whether an order still needs what is set aside for it.
fn needs(order: &Order) -> bool {
    let rests = matches!(order.state, State::Confirmed | State::PartiallyFulfilled);
    rests || (!order.saga.is_idle() && order.saga.task.as_deref().is_none_or(|task| task.starts_with("shp_")))
}

fn ended(state: payment::payment::State) -> bool {
    use payment::payment::State;
    matches!(state, State::Captured | State::Failed | State::Voided)
}

async fn held(service: &Service) -> Result<Held, Error> {
    let mut held = Held { reservations: HashMap::new(), payments: HashMap::new(), holds: Vec::new(), complete: true };
    held.complete &= reservations(service, &mut held.reservations).await?;
    held.complete &= holds(service, &mut held.holds).await?;
    // After the holds, so that the payment of each is either here or has ended.
    held.complete &= payments(service, &mut held.payments).await?;
    Ok(held)
}

/// Reads what is held; whether that was all.
async fn reservations(service: &Service, found: &mut HashMap<String, Reservation>) -> Result<bool, Error> {
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let state = reservation::State::Held.into();
        let request = inventory::ListReservationsRequest { page_size: PAGE, page_token, state };
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

async fn payments(service: &Service, found: &mut HashMap<String, Payment>) -> Result<bool, Error> {
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let state = payment::payment::State::Authorized.into();
        let request = payment::ListPaymentsRequest { page_size: PAGE, page_token, state, ..Default::default() };
        let mut payment = PaymentServiceClient::new(service.0.payment.clone());
        let reply = ask(payment.list_payments(request)).await?;
        found.extend(reply.payments.into_iter().map(|secured| (secured.id.clone(), secured)));
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

async fn get_payment(service: &Service, id: &str) -> Result<Option<Payment>, Error> {
    let mut payment = PaymentServiceClient::new(service.0.payment.clone());
    let reply = ask(payment.get_payment(payment::GetPaymentRequest { id: id.to_owned() })).await;
    known(reply.map(|reply| reply.payment))
}

async fn get_reservation(service: &Service, id: &str) -> Result<Option<Reservation>, Error> {
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
