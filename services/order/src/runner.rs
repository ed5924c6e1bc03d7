//! Carrying orders on: a pass goes from step to step until there is nothing to do, or notes what keeps it and when to try
//! again. Whoever starts something makes the first pass at once; what a crash or a fault has left is taken over by
//! lease. Steps are idempotent, so a pass may begin again from the start, and two may run at once: the sequence of the
//! order decides whose change counts.

use std::{sync::Arc, time::Duration};

use contracts::order::v1::{self as api, CreateShipmentResponse, LineQuantity, ReceiveReturnResponse, Shipment};
use futures::StreamExt as _;
use kit::{Call, Error, Scope, drain::Draining};
use rand::Rng;
use storage::{Key, Unit, failpoint};

use crate::{
    Service,
    order::{Command, Kind, Order},
    origin, proto,
    purchase::Purchase,
    putting_back, returns,
    saga::{Saga, State},
    settle, shipment,
    steps::{self, Halt},
    store::{self, Open},
};

/// How often the reconciler looks for unfinished orders.
const TICK: Duration = Duration::from_secs(1);
/// How many orders the reconciler takes over with one unit.
const BATCH: i64 = 256;
/// How many orders that were left are carried on at once.
const AT_ONCE: usize = 256;
/// The pause after the first failure; it doubles, and is cut at random.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause while the buyer must confirm the payment: a fact of payment ends it sooner.
const LONGEST_PAUSE_FOR_BUYER: Duration = Duration::from_secs(30);

/// What a saga is for.
pub enum Task {
    /// The order itself.
    Order,
    /// A shipment of it.
    Shipment(shipment::Open),
    /// A return to it.
    Return(returns::Open),
}

/// An order as far as a pass has carried it.
pub struct Pass {
    /// The order.
    pub order: Order,
    /// What was worked on last.
    pub task: Task,
}

impl Service {
    /// Carries an order on, and goes on when the caller has left. With too many under way it is left to the reconciler.
    pub(crate) fn start(&self, order: Order) {
        let Ok(permit) = Arc::clone(&self.0.running).try_acquire_owned() else { return };
        let service = self.clone();
        let id = order.id.clone();
        let work = async move {
            let _permit = permit;
            if let Err(error) = resume(&service, order).await {
                tracing::warn!(order = id, %error, "an order is left to be taken up again");
            }
        };
        tokio::spawn(kit::call::run(self.in_own_name(), work));
    }

    /// The running call in the name of the service alone, for as long as a lease: the user's token may expire meanwhile.
    pub(crate) fn in_own_name(&self) -> Call {
        let lease = self.0.settings.reconcile_after;
        let own = Call::background("order", lease);
        match Call::try_current() {
            Some(call) => Call { peer: own.peer, caller: None, scope: own.scope, ..call.detached(lease) },
            None => own,
        }
    }
}

async fn resume(service: &Service, order: Order) -> Result<Order, Error> {
    let request_key = match &order.kind {
        // Its reply is awaited until it has ended.
        Kind::Trade(_) => service.0.db.read(async |session| store::request_key(session, &order.id).await).await?,
        Kind::Purchase(_) => None,
    };
    take_over(service, Open { order, request_key }).await
}

/// Makes a pass over an order. `task` is what it is for, if that is in hand.
///
/// # Errors
/// What the database refuses when not even that can be noted. The lease ends then, and somebody takes the order up again.
pub async fn carry_on(service: &Service, mut order: Order, task: Option<Task>) -> Result<Pass, Error> {
    let found = match task {
        Some(task) => Ok(task),
        None => find_task(service, &order).await,
    };
    let mut task = match found {
        Ok(task) => task,
        Err(error) => {
            let order = wait(service, &order, fault("load", error)).await?;
            return Ok(Pass { order, task: Task::Order });
        }
    };
    while let Kind::Purchase(purchase) = &order.kind
        && order.saga.is_due()
    {
        let applied = match step(service, &order, purchase, &mut task).await {
            Ok(command) => apply(service, &order, command, &task).await.map_err(|error| fault("save", error)),
            Err(halt) => Err(halt),
        };
        match applied {
            Ok(Some(pass)) => Pass { order, task } = pass,
            Ok(None) => {
                let found = service.0.db.read(async |session| store::load(session, &Scope::All, &order.id).await);
                let found = found.await?.ok_or_else(|| store::missing("order", &order.id))?;
                let of = |order: &Order| (order.state, order.saga.state, order.saga.task.clone(), order.saga.deadline);
                let same = of(&found) == of(&order);
                order = found;
                // Somebody else was faster, and goes on with it.
                if !same {
                    break;
                }
                // It was changed beside the saga, which is left to us. What a step has noted on its task was not saved.
                task = match find_task(service, &order).await {
                    Ok(task) => task,
                    Err(error) => {
                        order = wait(service, &order, fault("load", error)).await?;
                        break;
                    }
                };
            }
            Err(halt) => {
                order = wait(service, &order, halt).await?;
                break;
            }
        }
    }
    Ok(Pass { order, task })
}

async fn find_task(service: &Service, order: &Order) -> Result<Task, Error> {
    let Some(id) = &order.saga.task else { return Ok(Task::Order) };
    let db = &service.0.db;
    match id.starts_with("shp_") {
        true => db.read(async |session| shipment::load(session, &Scope::All, id).await).await.map(Task::Shipment),
        false => db.read(async |session| returns::load(session, &Scope::All, id).await).await.map(Task::Return),
    }
}

async fn step(service: &Service, order: &Order, purchase: &Purchase, task: &mut Task) -> Result<Command, Halt> {
    match task {
        _ if order.is_undone() => steps::undo(service, order, purchase).await,
        Task::Order => steps::carry_out(service, order, purchase).await,
        Task::Shipment(open) => steps::ship(service, purchase, open).await,
        Task::Return(open) => steps::take_back(service, purchase, open).await,
    }
}

/// Saves what a step came to, in one unit. Nothing if the order has changed meanwhile.
async fn apply(service: &Service, before: &Order, command: Command, task: &Task) -> Result<Option<Pass>, Error> {
    let confirmed = matches!(command, Command::Confirm { .. });
    let stays = matches!(command, Command::Unship { .. });
    let cause = origin::cause(&command);
    let lease = service.0.settings.reconcile_after;
    let applied = service.0.db.write(async |unit: &mut Unit| {
        let (order, facts) = before.decide(command, unit.now())?;
        let events = facts.iter().map(|fact| proto::event(*fact, &order)).collect();
        if !store::save(unit, before, &order, cause, events, lease).await? {
            return Ok(None);
        }
        putting_back::put_back(unit, &order).await?;
        let task = match task {
            Task::Order => begin_digital(unit, before, &order).await?,
            Task::Shipment(open) if stays => cancel_shipment(unit, open).await?,
            Task::Shipment(open) => Task::Shipment(end_shipment(unit, &order, open).await?),
            Task::Return(open) => Task::Return(end_return(unit, open).await?),
        };
        Ok(Some(Pass { order, task }))
    });
    let applied = applied.await?;
    if confirmed && applied.is_some() {
        failpoint::hit("order-after-confirm");
    }
    Ok(applied)
}

/// Packs what needs no parcel, if the order was just confirmed and has any.
async fn begin_digital(unit: &mut Unit, before: &Order, after: &Order) -> Result<Task, Error> {
    let (Some(id), Some(purchase)) = (&after.saga.task, before.purchase()) else { return Ok(Task::Order) };
    let shipment = pack(unit, before, id.clone(), purchase, &purchase.left_digital())?;
    let open = shipment::Open { shipment, request_key: None, refusals: 0 };
    shipment::insert(unit, &open).await?;
    Ok(Task::Shipment(open))
}

/// A shipment of pieces of an order, as the order stood before.
///
/// # Errors
/// See [`Purchase::ship`].
pub fn pack(
    unit: &Unit,
    order: &Order,
    id: String,
    purchase: &Purchase,
    lines: &[LineQuantity],
) -> Result<Shipment, Error> {
    let (_, lines, amount) = purchase.ship(lines)?;
    Ok(Shipment {
        id,
        order_id: order.id.clone(),
        owner_id: order.owner.clone(),
        state: api::shipment::State::Preparing.into(),
        lines,
        amount: Some(amount),
        create_time: Some(unit.now().to_proto()),
        ..Default::default()
    })
}

async fn end_shipment(unit: &mut Unit, order: &Order, open: &shipment::Open) -> Result<shipment::Open, Error> {
    let before = &open.shipment;
    let physical = |pieces: &LineQuantity| order.purchase().is_some_and(|all| all.is_physical(&pieces.variant_id));
    let shipment = shipment::shipped(before, !before.lines.iter().any(physical), unit.now());
    if !shipment::save(unit, before, &shipment).await? {
        return Err(Error::internal(format!("{} changed before its order knew", before.id)));
    }
    finish(unit, open.request_key.as_deref(), &CreateShipmentResponse { shipment: Some(shipment.clone()) })?;
    Ok(shipment::Open { shipment, request_key: open.request_key.clone(), refusals: open.refusals })
}

/// Notes that a shipment never leaves. What is left to do is for the order.
async fn cancel_shipment(unit: &mut Unit, open: &shipment::Open) -> Result<Task, Error> {
    let shipment = shipment::cancelled(&open.shipment);
    if !shipment::save(unit, &open.shipment, &shipment).await? {
        return Err(Error::internal(format!("{} changed before its order knew", shipment.id)));
    }
    finish(unit, open.request_key.as_deref(), &CreateShipmentResponse { shipment: Some(shipment) })?;
    Ok(Task::Order)
}

async fn end_return(unit: &mut Unit, open: &returns::Open) -> Result<returns::Open, Error> {
    let content = returns::moved(&open.content, api::r#return::State::Refunded, unit.now())?;
    let after = returns::Open { content: content.clone(), ..open.clone() };
    if !returns::save(unit, &open.content, &after).await? {
        return Err(Error::internal(format!("{} was refunded before its order knew", content.id)));
    }
    finish(unit, open.request_key.as_deref(), &ReceiveReturnResponse { r#return: Some(content) })?;
    Ok(after)
}

fn finish(unit: &mut Unit, key: Option<&str>, reply: &impl prost::Message) -> Result<(), Error> {
    if let Some(key) = key {
        unit.finish(&Key::from_text(key)?, reply);
    }
    Ok(())
}

/// A fault of ours, which may pass.
fn fault(step: &'static str, error: Error) -> Halt {
    Halt { step, error, refused: false }
}

/// Notes what keeps a saga from going on, and when it is tried again; or that an operator has to look.
async fn wait(service: &Service, order: &Order, halt: Halt) -> Result<Order, Error> {
    let Halt { step, error, refused } = halt;
    let now = service.0.db.clock().now();
    // Until an order is confirmed there is a way back. After that, and on the way back, there is only forward.
    let stuck = match order.is_undone() || order.saga.task.is_some() {
        true => refused || order.saga.is_late(now),
        // Not even the way back could be begun.
        false => order.saga.is_late(now - service.0.settings.stuck_after),
    };
    let attempts = order.saga.attempts + 1;
    let next = now + pause(order, attempts);
    let next = order.saga.deadline.filter(|deadline| *deadline > now).map_or(next, |deadline| next.min(deadline));
    let saga = Saga {
        state: if stuck { State::Stuck } else { order.saga.state },
        step: step.to_owned(),
        attempts,
        last_error: Some(steps::why(&error)),
        next_attempt: (!stuck).then_some(next),
        ..order.saga.clone()
    };
    let noted = service.0.db.write(async |unit: &mut Unit| store::note(unit, order, &saga).await).await?;
    match (noted, stuck) {
        // There is news, or somebody else goes on with it.
        (false, _) => return Ok(order.clone()),
        (true, true) => {
            let then = if order.is_on("shp_") { "RetrySaga or CancelShipment" } else { "RetrySaga" };
            tracing::error!(order = order.id, step, %error, "an order is stuck: repair the cause, then call {then}");
        }
        (true, false) => tracing::info!(order = order.id, step, attempts, %error, "an order waits"),
    }
    Ok(Order { saga, ..order.clone() })
}

fn pause(order: &Order, attempts: i64) -> Duration {
    let asks_buyer = order.purchase().is_some_and(|purchase| !purchase.message().action_url.is_empty());
    let longest = if asks_buyer { LONGEST_PAUSE_FOR_BUYER } else { LONGEST_PAUSE };
    let doublings = u32::try_from(attempts - 1).unwrap_or(u32::MAX).min(10);
    let most = (PAUSE * 2_u32.pow(doublings)).min(longest);
    rand::rng().random_range(Duration::ZERO..=most)
}

/// Takes over what a crash, or a neighbour that could not be reached, has left, until drained.
pub async fn reconcile(service: &Service, draining: &Draining) {
    // One that is slow keeps no other waiting, and the next are taken over as soon as there is room for one.
    let left = async_stream::stream! {
        while let Some(left) = next_left(service, draining).await {
            for open in left {
                yield open;
            }
        }
    };
    let finished = left.map(|open| finish_left(service, open)).buffer_unordered(AT_ONCE);
    finished.for_each(|_| std::future::ready(())).await;
}

/// Some orders whose lease has ended, as soon as there are any. Nothing once drained.
async fn next_left(service: &Service, draining: &Draining) -> Option<Vec<Open>> {
    while !draining.is_set() {
        match claim(service).await {
            // There may be more: nobody waits before the next look.
            Ok(left) if !left.is_empty() => return Some(left),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "unfinished orders could not be taken up, and will be tried again"),
        }
        tokio::select! {
            () = draining.wait() => return None,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
    None
}

/// Takes over orders whose lease has ended.
async fn claim(service: &Service) -> Result<Vec<Open>, Error> {
    let db = &service.0.db;
    // Looked at before they are taken: a look costs no commit.
    if !db.read(async |session| store::any_due(session, db.clock().now()).await).await? {
        return Ok(Vec::new());
    }
    let lease = service.0.settings.reconcile_after;
    db.write(async |unit: &mut Unit| store::claim(unit, unit.now() + lease, BATCH).await).await
}

/// Carries on an order that was left. Says whether nothing is left of it.
async fn finish_left(service: &Service, open: Open) -> bool {
    let id = open.order.id.clone();
    let call = Call::background("order", service.0.settings.reconcile_after);
    match kit::call::run(call, take_over(service, open)).await {
        Ok(order) if order.saga.is_idle() => {
            tracing::info!(order = id, state = order.state.name(), "finished what was left of an order");
            true
        }
        // It waits, or is stuck, and that was said.
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(order = id, %error, "an order is left to be taken up again");
            false
        }
    }
}

/// What [`reconcile`] does, once: carries on orders whose lease has ended. Gives back how many were finished.
#[cfg(test)]
pub(crate) async fn reconcile_once(service: &Service) -> Result<usize, Error> {
    let left = futures::stream::iter(claim(service).await?);
    let finished = left.map(|open| finish_left(service, open)).buffer_unordered(AT_ONCE);
    Ok(finished.filter(|finished| std::future::ready(*finished)).count().await)
}

async fn take_over(service: &Service, open: Open) -> Result<Order, Error> {
    match open.order.kind {
        Kind::Trade(_) => settle::carry_out(service, open).await,
        Kind::Purchase(_) => carry_on(service, open.order, None).await.map(|pass| pass.order),
    }
}
