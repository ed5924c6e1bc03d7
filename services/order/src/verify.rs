//! Asking everyone again: nothing is set aside without an order that needs it (INV-5), and what orders say is what
//! inventory, payment and their own shipments say (INV-8). What is still moving is left out: a check compares things that
//! were read one after the other. A check that runs out of time says where to go on.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use contracts::{
    inventory::v1::{Reservation, reservation},
    order::v1::{Shipment, VerifyOrdersResponse, shipment::State as Stands},
    payment::v1::{Payment, payment::State as Paid, refund::State as Given},
};
use kit::{Call, Error, Scope, Timestamp};
use storage::Session;
use tokio::time::Instant;

use crate::{
    Service, charging,
    held::{self, Held, PAGE},
    invoice_store,
    order::{Order, State},
    purchase::Purchase,
    shipment, store,
};

/// How many problems end a check. What the last page adds is told too: nothing goes back to it.
const PROBLEMS: usize = 100;
/// How long before its deadline a check ends and says where to go on.
const RESERVE: Duration = Duration::from_secs(1);
/// What the tokens are for.
pub const TOKENS: &str = "orders that are verified";

/// What is looked at, page by page, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Reservations that are held.
    Held,
    /// Payments that are secured.
    Authorized,
    /// Payments that were taken.
    Captured,
    /// Holds of the ledger.
    Holds,
    /// Purchases, the newest first.
    Orders,
}

struct Check<'a> {
    service: &'a Service,
    now: Timestamp,
    /// What changed later is left out.
    since: Timestamp,
    held: Held,
    order_count: i64,
    problems: Vec<String>,
}

/// Something that an order has to know, or to need.
struct Claim {
    order_id: String,
    what: String,
    /// Whether it is not enough that there is such an order.
    needed: bool,
}

/// Checks orders against inventory, payment and the ledger, from where the token says, for as long as there is time.
///
/// # Errors
/// `INVALID_PAGE_TOKEN`; what keeps one of them from answering.
pub async fn orders(service: &Service, page_token: &str) -> Result<VerifyOrdersResponse, Error> {
    let end = Call::current()?.deadline.and_then(|deadline| deadline.checked_sub(RESERVE));
    let now = service.0.db.clock().now();
    let (since, held) = (now - service.0.settings.settled_after, Held::default());
    let mut check = Check { service, now, since, held, order_count: 0, problems: Vec::new() };
    let (was_right, start) = match service.0.tokens.decode(page_token, TOKENS)? {
        Some(keys) => read(&keys).ok_or_else(unknown)?,
        None => {
            check.held.fill(service, end).await?;
            check.trades().await?;
            (true, (Subject::Held, String::new()))
        }
    };
    let mut left = Some(start);
    while let Some((subject, from)) = left {
        left = match check.page(subject, from).await? {
            Some(next) => Some((subject, next)),
            None => subject.next().map(|subject| (subject, String::new())),
        };
        if check.problems.len() >= PROBLEMS || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    let Check { problems, order_count, .. } = check;
    let is_right = was_right && problems.is_empty();
    let holds = is_right && left.is_none();
    let next_page_token = match left {
        Some((subject, from)) => {
            service.0.tokens.encode(TOKENS, &[is_right.to_string(), subject.name().to_owned(), from])
        }
        None => String::new(),
    };
    Ok(VerifyOrdersResponse { holds, order_count, problems, next_page_token })
}

/// What a token says: whether everything was right so far, and where to go on.
fn read(keys: &[String]) -> Option<(bool, (Subject, String))> {
    let [was_right, subject, from] = keys else { return None };
    Some((was_right.parse().ok()?, (Subject::named(subject)?, from.clone())))
}

fn unknown() -> Error {
    let message = "`page_token` says nothing that can be verified. Repeat the call without it.";
    Error::named("INVALID_PAGE_TOKEN", message).with("field", "page_token")
}

impl Subject {
    const ALL: [Subject; 5] = [Subject::Held, Subject::Authorized, Subject::Captured, Subject::Holds, Subject::Orders];

    fn name(self) -> &'static str {
        match self {
            Subject::Held => "held",
            Subject::Authorized => "authorized",
            Subject::Captured => "captured",
            Subject::Holds => "holds",
            Subject::Orders => "orders",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|subject| *subject != self).nth(1)
    }
}

impl Check<'_> {
    /// Looks at a page. Gives back where the next begins.
    async fn page(&mut self, subject: Subject, from: String) -> Result<Option<String>, Error> {
        let next = match subject {
            Subject::Held => self.reservations(from).await?,
            Subject::Authorized => self.payments(Paid::Authorized, from).await?,
            Subject::Captured => self.payments(Paid::Captured, from).await?,
            Subject::Holds => self.holds(from).await?,
            Subject::Orders => self.purchases(from).await?,
        };
        Ok(Some(next).filter(|next| !next.is_empty()))
    }

    /// Reservations that no order needs and that do not end by themselves.
    async fn reservations(&mut self, from: String) -> Result<String, Error> {
        let (found, next) = held::reservations(self.service, reservation::State::Held, from).await?;
        let mut claims = Vec::new();
        for reservation in &found {
            let ends = reservation.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > self.now);
            if !ends && self.rests(reservation.update_time.as_ref().map(Timestamp::from_proto)) {
                let (order_id, what) = (reservation.reference.clone(), format!("{} is held", reservation.id));
                claims.push(Claim { order_id, what, needed: true });
            }
        }
        self.held.know_reservations(found);
        self.claims(&claims).await?;
        Ok(next)
    }

    /// Money that is secured for no order that needs it, or was taken for none at all.
    async fn payments(&mut self, state: Paid, from: String) -> Result<String, Error> {
        let (found, next) = held::payments(self.service, state, from).await?;
        let (what, needed) = if state == Paid::Authorized { ("authorized", true) } else { ("captured", false) };
        let rested = found.iter().filter(|paid| self.rests(paid.update_time.as_ref().map(Timestamp::from_proto)));
        let claim =
            |paid: &Payment| Claim { order_id: paid.order_id.clone(), what: format!("{} is {what}", paid.id), needed };
        let claims: Vec<Claim> = rested.map(claim).collect();
        self.held.know_payments(found);
        self.claims(&claims).await?;
        Ok(next)
    }

    /// Holds whose payment has ended and that do not end by themselves.
    async fn holds(&mut self, from: String) -> Result<String, Error> {
        let (mut found, next) = held::holds(self.service, from).await?;
        found.retain(|hold| {
            let known = self.held.payments.get(&hold.reference);
            let orphan = hold.reference.starts_with("pay_") && known.is_none_or(|paid| ended(paid.state()));
            let ends = hold.expire_time.as_ref().is_some_and(|time| Timestamp::from_proto(time) > self.now);
            orphan && !ends && self.rests(hold.update_time.as_ref().map(Timestamp::from_proto))
        });
        // A payment may have been secured after payments were read.
        let payments =
            held::payments_of(self.service, found.iter().map(|hold| hold.reference.clone()).collect()).await?;
        for hold in &found {
            let state = match payments.get(&hold.reference) {
                Some(payment) if !ended(payment.state()) => continue,
                Some(payment) => payment.state().as_str_name(),
                None => "unknown",
            };
            self.problems.push(format!("INV-5: {} is held, but {} is {state}.", hold.id, hold.reference));
        }
        Ok(next)
    }

    async fn claims(&mut self, claims: &[Claim]) -> Result<(), Error> {
        let ids: Vec<&str> = claims.iter().map(|claim| claim.order_id.as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
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

    /// A trade has one transaction, of its own, if it is carried out, and none otherwise.
    async fn trades(&mut self) -> Result<(), Error> {
        let limit = i64::try_from(PROBLEMS).map_err(Error::internal)?;
        let read = async |session: &mut Session| store::odd_trades(session, self.since, limit).await;
        for (id, state) in self.service.0.db.read(read).await? {
            self.problems.push(format!("INV-8: {id} is {state}, but has not exactly one transaction of its own."));
        }
        Ok(())
    }

    /// Purchases before an id against what they should have. Gives back the last id.
    async fn purchases(&mut self, before: String) -> Result<String, Error> {
        // Above every id.
        let before = if before.is_empty() { "ord_~".to_owned() } else { before };
        let read = async |session: &mut Session| store::settled(session, self.since, &before, PAGE.into()).await;
        let page = self.service.0.db.read(read).await?;
        self.order_count += i64::try_from(page.len()).map_err(Error::internal)?;
        self.settled(&page).await?;
        Ok(page.last().map(|last| last.id.clone()).unwrap_or_default())
    }

    async fn settled(&mut self, page: &[Order]) -> Result<(), Error> {
        let idle = page.iter().filter(|order| order.saga.is_idle());
        let purchases: Vec<(&Order, &Purchase)> =
            idle.filter_map(|order| order.purchase().map(|purchase| (order, purchase))).collect();
        let ids: Vec<&str> = purchases.iter().map(|(order, _)| order.id.as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let read = async |session: &mut Session| invoice_store::shipments_of(session, &ids).await;
        let shipments: BTreeMap<String, Vec<Shipment>> = self.service.0.db.read(read).await?;
        self.read_ahead(&purchases, &shipments).await?;
        for (order, purchase) in purchases {
            let payment_id = &purchase.message().payment_id;
            let shipments = shipments.get(&order.id).map(Vec::as_slice).unwrap_or_default();
            self.goods(order, purchase, shipments).await?;
            self.charges(order, purchase, shipments).await?;
            match self.held.payments.get(payment_id).cloned() {
                Some(payment) => self.payment(order, purchase, &payment).await?,
                // One that was refused before the payment was asked for has none.
                None if payment_id.is_empty() || matches!(order.state, State::Rejected | State::Cancelled) => {}
                None => self.found(order, &format!("its payment {payment_id} does not exist")).await?,
            }
            // Nobody asks for them again.
            self.held.payments.remove(payment_id);
            self.held.reservations.remove(&purchase.message().reservation_id);
        }
        Ok(())
    }

    /// Reads what is not known yet of the payments and reservations of a page.
    async fn read_ahead(
        &mut self,
        purchases: &[(&Order, &Purchase)],
        shipments: &BTreeMap<String, Vec<Shipment>>,
    ) -> Result<(), Error> {
        let payment_ids = purchases.iter().map(|(_, purchase)| &purchase.message().payment_id);
        let unread = payment_ids.filter(|id| !id.is_empty() && !self.held.payments.contains_key(*id)).cloned();
        let payments = held::payments_of(self.service, unread.collect()).await?;
        let goods = purchases.iter().filter(|(order, purchase)| {
            let shipments = shipments.get(&order.id).map(Vec::as_slice).unwrap_or_default();
            needs_goods(order, purchase) || have_left(purchase, shipments)
        });
        let reservation_ids = goods.map(|(_, purchase)| &purchase.message().reservation_id);
        let unread = reservation_ids.filter(|id| !id.is_empty() && !self.held.reservations.contains_key(*id)).cloned();
        let reservations = held::reservations_of(self.service, unread.collect()).await?;
        self.held.payments.extend(payments);
        self.held.reservations.extend(reservations);
        Ok(())
    }

    /// What is left is set aside, and what was shipped, or given up after that, has left stock.
    async fn goods(&mut self, order: &Order, purchase: &Purchase, shipments: &[Shipment]) -> Result<(), Error> {
        let id = &purchase.message().reservation_id;
        let left = needs_goods(order, purchase);
        if id.is_empty() || !(left || have_left(purchase, shipments)) {
            return Ok(());
        }
        let reservation = self.held.reservations.get(id);
        let state = reservation.map(Reservation::state);
        if left && state != Some(reservation::State::Held) {
            let state = state.map_or("unknown", |state| state.as_str_name());
            return self.found(order, &format!("its reservation {id} is {state}")).await;
        }
        let lines = reservation.map(|reservation| reservation.lines.as_slice()).unwrap_or_default();
        let differs = |variant_id: &str| {
            let same = lines.iter().filter(|line| line.variant_id == variant_id);
            same.map(|line| line.committed).sum::<i64>() != gone(purchase, shipments, variant_id)
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
            _ if refunded < (given + early).min(captured) => "less was given back than it says",
            _ if needs(order) && ended(payment.state()) && purchase.total()? > captured => "its payment has ended",
            _ if refunded > given + early && self.given_back(purchase, payment).await? > given + early => {
                "more was given back than it says"
            }
            _ => return Ok(()),
        };
        self.found(order, &format!("{problem} ({})", payment.id)).await
    }

    /// What was given back of a payment, but for what is under way and what an order may not have heard of yet.
    async fn given_back(&self, purchase: &Purchase, payment: &Payment) -> Result<i64, Error> {
        let refunds = charging::refunds(self.service, &payment.id).await?;
        let ended = refunds.iter().filter(|refund| refund.state() == Given::Succeeded);
        let rested = ended.filter(|refund| self.rests(refund.update_time.as_ref().map(Timestamp::from_proto)));
        rested.map(|refund| purchase.atoms(refund.amount.as_ref())).sum()
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

/// Whether pieces that are kept in stock are still to be shipped.
fn needs_goods(order: &Order, purchase: &Purchase) -> bool {
    needs(order) && purchase.left().iter().any(|pieces| purchase.is_physical(&pieces.variant_id))
}

/// Whether pieces were taken out of stock.
fn have_left(purchase: &Purchase, shipments: &[Shipment]) -> bool {
    purchase.reserved().iter().any(|pieces| gone(purchase, shipments, &pieces.variant_id) > 0)
}

/// How many pieces of a variant were taken out of stock.
fn gone(purchase: &Purchase, shipments: &[Shipment], variant_id: &str) -> i64 {
    purchase.shipped(variant_id) + shipment::given_up(shipments, variant_id)
}

fn ended(state: Paid) -> bool {
    matches!(state, Paid::Captured | Paid::Failed | Paid::Voided)
}
