//! Asking everyone again: nothing is set aside without an order that needs it (INV-5), and what orders say is what
//! inventory, payment and their own shipments say (INV-8). What is still moving is left out: a check compares things that
//! were read one after the other. What could not be checked is told like what does not hold.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use contracts::{
    inventory::v1::{Reservation, reservation},
    ledger::v1::Hold,
    order::v1::{Shipment, VerifyOrdersResponse, shipment::State as Stands},
    payment::v1::{Payment, payment::State as Paid},
};
use kit::{Call, Error, Scope, Timestamp};
use storage::Session;
use tokio::time::Instant;

use crate::{
    Service,
    held::{self, Held, PAGE, PAGES},
    invoice_store,
    order::{Order, State},
    purchase::Purchase,
    shipment, store,
};

/// How many problems are told.
const PROBLEMS: usize = 100;
/// How long before its deadline a check ends and says how far it came.
const RESERVE: Duration = Duration::from_secs(1);

struct Check<'a> {
    service: &'a Service,
    /// What changed later is left out.
    since: Timestamp,
    problems: Vec<String>,
}

/// Something that an order has to know, or to need.
struct Claim {
    order_id: String,
    what: String,
    /// Whether it is not enough that there is such an order.
    needed: bool,
}

/// Checks orders against inventory, payment and the ledger.
///
/// # Errors
/// What keeps one of them from answering.
pub async fn orders(service: &Service) -> Result<VerifyOrdersResponse, Error> {
    let now = service.0.db.clock().now();
    let mut check = Check { service, since: now - service.0.settings.settled_after, problems: Vec::new() };
    let held = held::read(service).await?;
    for what in &held.unread {
        check.problems.push(format!("Not everything was checked: there are more {what} than can be read."));
    }
    check.orphans(&held, now).await?;
    check.trades().await?;
    let order_count = check.orders(&held).await?;
    let mut problems = check.problems;
    problems.truncate(PROBLEMS);
    Ok(VerifyOrdersResponse { holds: problems.is_empty(), order_count, problems })
}

impl Check<'_> {
    /// Reservations, payments and holds that nobody needs and that do not end by themselves; money that nobody owes.
    async fn orphans(&mut self, held: &Held, now: Timestamp) -> Result<(), Error> {
        let mut claims = Vec::new();
        for reservation in held.reservations.values() {
            let ends = reservation.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > now);
            if !ends && self.rests(reservation.update_time.as_ref().map(Timestamp::from_proto)) {
                let (order_id, what) = (reservation.reference.clone(), format!("{} is held", reservation.id));
                claims.push(Claim { order_id, what, needed: true });
            }
        }
        for payment in held.payments.values() {
            let (what, needed) = match payment.state() {
                Paid::Authorized => ("authorized", true),
                Paid::Captured => ("captured", false),
                _ => continue,
            };
            if self.rests(payment.update_time.as_ref().map(Timestamp::from_proto)) {
                let (order_id, what) = (payment.order_id.clone(), format!("{} is {what}", payment.id));
                claims.push(Claim { order_id, what, needed });
            }
        }
        for claims in claims.chunks(PAGE.unsigned_abs() as usize) {
            self.claims(claims).await?;
        }
        for hold in &held.holds {
            let payment = held.payments.get(&hold.reference);
            let orphan = hold.reference.starts_with("pay_") && payment.is_none_or(|payment| ended(payment.state()));
            let ends = hold.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > now);
            if orphan && !ends && self.rests(hold.update_time.as_ref().map(Timestamp::from_proto)) {
                self.hold_must_be_needed(hold).await?;
            }
        }
        Ok(())
    }

    async fn claims(&mut self, claims: &[Claim]) -> Result<(), Error> {
        let ids: Vec<&str> = claims.iter().map(|claim| claim.order_id.as_str()).collect();
        let read = async |session: &mut Session| store::load_all(session, &ids).await;
        let orders = self.service.0.db.read(read).await?;
        let orders: HashMap<_, _> = orders.iter().map(|order| (order.id.as_str(), order)).collect();
        for Claim { order_id, what, needed } in claims {
            let problem = match orders.get(order_id.as_str()) {
                None => format!("INV-5: {what}, but there is no order {order_id}."),
                Some(order) if !needed || order.update_time > self.since || needs(order) => continue,
                Some(order) => format!("INV-5: {what}, but {order_id} is {} and needs it no more.", order.state.name()),
            };
            self.problems.push(problem);
        }
        Ok(())
    }

    /// The payment may have been secured after payments were read.
    async fn hold_must_be_needed(&mut self, hold: &Hold) -> Result<(), Error> {
        let state = match held::payment_of(self.service, &hold.reference).await? {
            Some(payment) if !ended(payment.state()) => return Ok(()),
            Some(payment) => payment.state().as_str_name(),
            None => "unknown",
        };
        self.problems.push(format!("INV-5: {} is held, but {} is {state}.", hold.id, hold.reference));
        Ok(())
    }

    /// A trade has one transaction, of its own, if it is carried out, and none otherwise.
    async fn trades(&mut self) -> Result<(), Error> {
        let limit = i64::try_from(PROBLEMS).map_err(Error::internal)?;
        let read = async |session: &mut Session| store::odd_trades(session, self.since, limit).await;
        for (id, state) in self.service.0.db.read(read).await? {
            self.problems.push(format!("INV-8: {id} is {state}, but has not exactly one transaction of its own."));
        }
        Ok(())
    }

    /// Purchases against what they should have. Gives back how many.
    async fn orders(&mut self, held: &Held) -> Result<i64, Error> {
        // Above every id.
        let (mut count, mut before) = (0, "ord_~".to_owned());
        let end = Call::current()?.deadline.and_then(|deadline| deadline.checked_sub(RESERVE));
        for _ in 0..PAGES {
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let read = async |session: &mut Session| store::settled(session, self.since, &before, PAGE.into()).await;
            let page = self.service.0.db.read(read).await?;
            let Some(last) = page.last() else { return Ok(count) };
            before.clone_from(&last.id);
            count += i64::try_from(page.len()).map_err(Error::internal)?;
            self.page(&page, held).await?;
            if self.problems.len() >= PROBLEMS {
                return Ok(count);
            }
        }
        self.problems.push(format!("Not everything was checked: only the newest {count} purchases were."));
        Ok(count)
    }

    async fn page(&mut self, page: &[Order], held: &Held) -> Result<(), Error> {
        let idle = page.iter().filter(|order| order.saga.is_idle());
        let purchases: Vec<(&Order, &Purchase)> =
            idle.filter_map(|order| order.purchase().map(|purchase| (order, purchase))).collect();
        let ids: Vec<&str> = purchases.iter().map(|(order, _)| order.id.as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let read = async |session: &mut Session| invoice_store::shipments_of(session, &ids).await;
        let shipments: BTreeMap<String, Vec<Shipment>> = self.service.0.db.read(read).await?;
        let payment_ids = purchases.iter().map(|(_, purchase)| &purchase.message().payment_id);
        let unread = payment_ids.filter(|id| !id.is_empty() && !held.payments.contains_key(*id)).cloned().collect();
        let others = held::payments_of(self.service, unread).await?;
        for (order, purchase) in purchases {
            let payment_id = &purchase.message().payment_id;
            let payment = held.payments.get(payment_id).or_else(|| others.get(payment_id));
            let shipments = shipments.get(&order.id).map(Vec::as_slice).unwrap_or_default();
            self.goods(order, purchase, shipments, held).await?;
            self.charges(order, purchase, shipments).await?;
            match payment {
                Some(payment) => self.payment(order, purchase, payment).await?,
                // One that was refused before the payment was asked for has none.
                None if payment_id.is_empty() || matches!(order.state, State::Rejected | State::Cancelled) => {}
                None => self.found(order, &format!("its payment {payment_id} does not exist")).await?,
            }
        }
        Ok(())
    }

    /// What is left is set aside, and what was shipped, or given up after that, has left stock.
    async fn goods(
        &mut self,
        order: &Order,
        purchase: &Purchase,
        shipments: &[Shipment],
        held: &Held,
    ) -> Result<(), Error> {
        let id = &purchase.message().reservation_id;
        let left = needs(order) && purchase.left().iter().any(|pieces| purchase.is_physical(&pieces.variant_id));
        let gone = |variant_id: &str| purchase.shipped(variant_id) + shipment::given_up(shipments, variant_id);
        let shipped = purchase.reserved().iter().any(|pieces| gone(&pieces.variant_id) > 0);
        if id.is_empty() || !(left || shipped) {
            return Ok(());
        }
        let asked;
        let reservation = match held.reservations.get(id).or_else(|| held.committed.get(id)) {
            Some(reservation) => Some(reservation),
            None => {
                asked = held::reservation_of(self.service, id).await?;
                asked.as_ref()
            }
        };
        let state = reservation.map(Reservation::state);
        if left && state != Some(reservation::State::Held) {
            let state = state.map_or("unknown", |state| state.as_str_name());
            return self.found(order, &format!("its reservation {id} is {state}")).await;
        }
        let lines = reservation.map(|reservation| reservation.lines.as_slice()).unwrap_or_default();
        let differs = |variant_id: &str| {
            let same = lines.iter().filter(|line| line.variant_id == variant_id);
            same.map(|line| line.committed).sum::<i64>() != gone(variant_id)
        };
        if purchase.reserved().iter().any(|pieces| differs(&pieces.variant_id)) {
            return self.found(order, &format!("other pieces have left its reservation {id} than it says")).await;
        }
        Ok(())
    }

    /// Its shipments cost what was taken.
    async fn charges(&mut self, order: &Order, purchase: &Purchase, shipments: &[Shipment]) -> Result<(), Error> {
        let left = shipments.iter().filter(|one| matches!(one.state(), Stands::Shipped | Stands::Delivered));
        let charged = left.map(|one| purchase.atoms(one.amount.as_ref())).sum::<Result<i64, Error>>()?;
        if charged != purchase.atoms(purchase.message().captured.as_ref())? {
            return self.found(order, "its shipments cost another amount than was taken").await;
        }
        Ok(())
    }

    async fn payment(&mut self, order: &Order, purchase: &Purchase, payment: &Payment) -> Result<(), Error> {
        let [captured, refunded] = [&payment.captured, &payment.refunded].map(|amount| purchase.atoms(amount.as_ref()));
        let (captured, refunded) = (captured?, refunded?);
        let ours = purchase.message();
        let (taken, given) = (purchase.atoms(ours.captured.as_ref())?, purchase.atoms(ours.refunded.as_ref())?);
        // A provider may take everything at once: it keeps what is shipped later, and the rest goes back.
        let early = if needs(order) && payment.state() == Paid::Captured { 0 } else { captured - taken };
        let problem = match order.state {
            State::Rejected | State::Cancelled if captured != refunded => "money was taken and not given back",
            State::Rejected | State::Cancelled if !ended(payment.state()) => "its payment has not ended",
            State::Rejected | State::Cancelled => return Ok(()),
            _ if captured < taken || refunded < early => "another amount was taken than it says",
            // Support may have given back more.
            _ if refunded < given + early => "less was given back than it says",
            _ if needs(order) && ended(payment.state()) && purchase.total()? > captured => "its payment has ended",
            _ => return Ok(()),
        };
        self.found(order, &format!("{problem} ({})", payment.id)).await
    }

    /// Notes a problem, unless the order has moved on since it was read.
    async fn found(&mut self, order: &Order, problem: &str) -> Result<(), Error> {
        let read = async |session: &mut Session| store::load(session, &Scope::All, &order.id).await;
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

fn ended(state: Paid) -> bool {
    matches!(state, Paid::Captured | Paid::Failed | Paid::Voided)
}
