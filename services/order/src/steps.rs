//! The steps of a purchase: calls to inventory and payment under ids that are derived from the order, the shipment or the
//! return, so that each can be repeated by whoever finds it unfinished. What is stored here is only what keeps a repeat from
//! doing more than it should.

use std::time::Duration;

use contracts::{
    inventory::v1::{
        self as inventory, ReservationLine, inventory_service_client::InventoryServiceClient, reservation,
        stock_movement,
    },
    order::v1::{LineQuantity, Shipment},
    payment::v1::{self as payment, payment::State as Paid, payment_service_client::PaymentServiceClient},
    r#type::v1::{Amount, Reason},
};
use kit::{Call, Error};
use storage::{Unit, failpoint};
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::{
    Service,
    charging::{self, Funds, GivenBack},
    giving_up,
    order::{Command, Order, Rejection},
    purchase::Purchase,
    returns, shipment,
};

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// For how long goods are set aside before the order is confirmed, at the least, unless it is said.
const RESERVED_FOR: Duration = Duration::from_secs(15 * 60);
/// For how much longer than there is time to confirm the order, or for the buyer to confirm a payment.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Why a step did not get on.
#[derive(Debug)]
pub struct Halt {
    /// The step.
    pub step: &'static str,
    /// What it was told.
    pub error: Error,
    /// Whether it would be told the same for ever.
    pub refused: bool,
}

/// Sets goods aside and secures the money for them. What is refused on the way becomes the command to give up.
///
/// # Errors
/// What keeps it from going on for now.
pub async fn carry_out(service: &Service, order: &Order, purchase: &Purchase) -> Result<Command, Halt> {
    let settings = &service.0.settings;
    let now = service.0.db.clock().now();
    let give_up = |rejection| Command::GiveUp(rejection, now + settings.stuck_after);
    if order.saga.is_late(now) {
        return Ok(give_up(order.saga.last_error.clone().unwrap_or_else(|| why(&too_slow()))));
    }
    match secure(service, order, purchase).await {
        Err(halt) if halt.refused => Ok(give_up(why(&halt.error))),
        secured => secured,
    }
}

async fn secure(service: &Service, order: &Order, purchase: &Purchase) -> Result<Command, Halt> {
    let content = purchase.message();
    let (reserved, paid) = (!content.reservation_id.is_empty(), !content.payment_id.is_empty());
    if reserved {
        reserve(service, order, purchase).await.map_err(|error| halt("reserve", error))?;
        failpoint::hit("order-after-reserve");
    }
    if paid {
        if let Some(action) = authorize(service, order, purchase).await? {
            return Ok(action);
        }
        failpoint::hit("order-after-authorize");
    }
    if reserved {
        let request = inventory::PinReservationRequest { id: content.reservation_id.clone() };
        ask(stock(service).pin_reservation(request)).await.map_err(|error| halt("pin", error))?;
        failpoint::hit("order-after-pin");
    }
    let digital = (!purchase.left_digital().is_empty()).then(|| {
        let shipment_id = kit::id::derive("shp", &order.id, "digital");
        (shipment_id, service.0.db.clock().now() + service.0.settings.stuck_after)
    });
    Ok(Command::Confirm { digital })
}

async fn reserve(service: &Service, order: &Order, purchase: &Purchase) -> Result<(), Error> {
    let settings = &service.0.settings;
    let usual = (settings.carry_out_within + MARGIN).max(RESERVED_FOR);
    let request = inventory::CreateReservationRequest {
        id: purchase.message().reservation_id.clone(),
        reference: order.id.clone(),
        lines: reservation_lines(&purchase.reserved()),
        lifetime_seconds: seconds(settings.reservation_lifetime.unwrap_or(usual)),
    };
    let reply = ask(stock(service).create_reservation(request)).await?;
    let reservation = reply.reservation.unwrap_or_default();
    let refusal = match reservation.state() {
        reservation::State::Held => return Ok(()),
        reservation::State::Expired => Reason::ReservationExpired,
        _ => Reason::ReservationNotHeld,
    };
    Err(Error::new(refusal, "The goods are no longer set aside. Order again."))
}

/// Secures the money; the command if the buyer has to do something about it that the order does not say yet.
async fn authorize(service: &Service, order: &Order, purchase: &Purchase) -> Result<Option<Command>, Halt> {
    let failed = |error| halt("authorize", error);
    let content = purchase.message();
    let request = payment::ProcessPaymentRequest {
        id: content.payment_id.clone(),
        order_id: order.id.clone(),
        owner_id: order.owner.clone(),
        amount: content.total.clone(),
        payment_method_id: content.payment_method_id.clone(),
    };
    let reply = ask(money(service).process_payment(request)).await.map_err(failed)?;
    let payment = reply.payment.unwrap_or_default();
    let error = match payment.state() {
        Paid::Authorized | Paid::Captured => return Ok(None),
        Paid::RequiresAction if payment.action_url != content.action_url => {
            let within = service.0.settings.buyer_confirms_within;
            // First, so that the goods are set aside for as long as the buyer may take.
            extend(service, content.reservation_id.clone(), within + MARGIN).await.map_err(failed)?;
            let deadline = service.0.db.clock().now() + within;
            return Ok(Some(Command::RequireAction { action_url: payment.action_url, deadline }));
        }
        Paid::RequiresAction => Error::new(Reason::PaymentActionRequired, "Confirm the payment at its `action_url`."),
        Paid::Failed | Paid::Voided => declined(payment.decline),
        Paid::Pending | Paid::Processing | Paid::Unspecified => {
            Error::new(Reason::PaymentProcessing, "The provider has not answered yet.")
        }
    };
    Err(failed(error))
}

async fn extend(service: &Service, id: String, lifetime: Duration) -> Result<(), Error> {
    if id.is_empty() {
        return Ok(());
    }
    let request = inventory::ExtendReservationRequest { id, lifetime_seconds: seconds(lifetime) };
    ask(stock(service).extend_reservation(request)).await.map(|_| ())
}

/// A lifetime as inventory takes it: a day at the most.
fn seconds(lifetime: Duration) -> i32 {
    i32::try_from(lifetime.as_secs()).unwrap_or(86_400).clamp(1, 86_400)
}

/// Lets go of money and goods that were not shipped, in the reverse order. Both may never have been asked for: then they
/// cannot be any more.
///
/// # Errors
/// What keeps it from going on.
pub async fn undo(service: &Service, order: &Order, purchase: &Purchase) -> Result<Command, Halt> {
    let content = purchase.message();
    if !content.payment_id.is_empty() {
        charging::void(service, order, purchase).await.map_err(|error| halt("void", error))?;
        failpoint::hit("order-after-void");
    }
    if !content.reservation_id.is_empty() {
        let (id, reference) = (content.reservation_id.clone(), order.id.clone());
        let request = inventory::ReleaseReservationRequest { id, reference };
        ask(stock(service).release_reservation(request)).await.map_err(|error| halt("release", error))?;
        failpoint::hit("order-after-release");
    }
    Ok(Command::Undone { close_time: closes(service) })
}

/// Takes packed goods out of stock and the money for them. Nothing leaves whose money is gone: then the pieces stay, and
/// what was not shipped is undone.
///
/// # Errors
/// What keeps it from going on.
pub async fn ship(service: &Service, purchase: &Purchase, open: &mut shipment::Open) -> Result<Command, Halt> {
    let parcel = &open.shipment;
    let goods = physical(purchase, &parcel.lines);
    let amount = parcel.amount.clone().unwrap_or_default();
    let funds = charging::funds(service, purchase, &amount).await.map_err(|error| halt("capture", error))?;
    if parcel.cancellation.is_some() {
        let gone = has_left(service, purchase, &goods).await.map_err(|error| halt("commit-stock", error))?;
        return giving_up::carry_out(service, open, &goods, gone, &funds).await;
    }
    if let Funds::Gone(error) = &funds
        && !has_left(service, purchase, &goods).await.map_err(|error| halt("commit-stock", error))?
    {
        tracing::warn!(shipment = parcel.id, %error, "a shipment stays, since its money is gone");
        let deadline = service.0.db.clock().now() + service.0.settings.stuck_after;
        return Ok(Command::Unship { lines: parcel.lines.clone(), why: Some(why(error)), deadline });
    }
    if !goods.is_empty() {
        let request = inventory::CommitReservationRequest {
            id: purchase.message().reservation_id.clone(),
            shipment_id: parcel.id.clone(),
            lines: reservation_lines(&goods),
        };
        ask(stock(service).commit_reservation(request)).await.map_err(|error| halt("commit-stock", error))?;
        failpoint::hit("shipment-after-commit-stock");
    }
    if !matches!(funds, Funds::Taken) {
        take_money(service, purchase, open, &amount).await?;
    }
    failpoint::hit("shipment-after-capture");
    Ok(shipped(service, &open.shipment))
}

/// What it comes to that a shipment has left and is paid.
pub fn shipped(service: &Service, parcel: &Shipment) -> Command {
    Command::Shipped { amount: parcel.amount.clone().unwrap_or_default(), close_time: closes(service) }
}

/// Takes the money for a parcel. A refusal is kept under its key for ever, so it is noted: whoever is told to try again
/// asks under another.
async fn take_money(
    service: &Service,
    purchase: &Purchase,
    open: &shipment::Open,
    amount: &Amount,
) -> Result<(), Halt> {
    let Err(error) = charging::capture(service, purchase, open, amount).await else { return Ok(()) };
    let halted = halt("capture", error);
    // A key that was used for something else says nothing about this.
    if halted.refused && halted.error.reason() != "IDEMPOTENCY_KEY_REUSED" {
        let note = async |unit: &mut Unit| shipment::refused(unit, open).await;
        service.0.db.write(note).await.map_err(|error| halt("capture", error))?;
    }
    Err(halted)
}

/// Whether packed goods were taken out of stock, by an attempt before this one: then inventory counts as many as the
/// order does.
async fn has_left(service: &Service, purchase: &Purchase, goods: &[LineQuantity]) -> Result<bool, Error> {
    if goods.is_empty() {
        return Ok(false);
    }
    let request = inventory::GetReservationRequest { id: purchase.message().reservation_id.clone() };
    let lines = ask(stock(service).get_reservation(request)).await?.reservation.unwrap_or_default().lines;
    let left = |pieces: &LineQuantity| {
        let same = lines.iter().filter(|line| line.variant_id == pieces.variant_id);
        same.map(|line| line.committed).sum::<i64>() >= purchase.shipped(&pieces.variant_id)
    };
    Ok(goods.iter().any(left))
}

/// Puts goods that are back into stock, if they can be sold again, and gives the money for them back: as much of it as was
/// not given back otherwise. Notes on the return what became of both.
///
/// # Errors
/// What keeps it from going on.
pub async fn take_back(service: &Service, purchase: &Purchase, open: &mut returns::Open) -> Result<Command, Halt> {
    if open.restock {
        let goods = physical(purchase, &open.content.lines);
        restock(service, &open.content.id, &goods).await.map_err(|error| halt("restock", error))?;
        failpoint::hit("return-after-restock");
        // Inventory forgets the keys of requests after a week: whoever goes on then must not begin again.
        let note = async |unit: &mut Unit| returns::restocked(unit, &open.content.id).await;
        service.0.db.write(note).await.map_err(|error| halt("restock", error))?;
        open.restock = false;
    }
    let refund = charging::refund(service, purchase, &open.content).await;
    let GivenBack { refund_id, amount, before } = refund.map_err(|error| halt("refund", error))?;
    failpoint::hit("return-after-refund");
    let content = &mut open.content;
    (content.refund_id, content.amount, content.given_back_before) = (refund_id, Some(amount.clone()), before);
    Ok(Command::Refunded(amount))
}

/// Puts goods into stock that left it with `what`: a shipment, or what a return is about.
///
/// # Errors
/// What inventory refuses, and what keeps it from answering.
pub async fn restock(service: &Service, what: &str, goods: &[LineQuantity]) -> Result<(), Error> {
    for pieces in goods {
        let step = format!("restock/{}", pieces.variant_id);
        let request = inventory::AdjustStockRequest {
            request_id: kit::id::derive_uuid(what, &step).to_string(),
            variant_id: pieces.variant_id.clone(),
            kind: stock_movement::Kind::Returned.into(),
            quantity: pieces.quantity,
            reference: what.to_owned(),
            ..Default::default()
        };
        ask(stock(service).adjust_stock(request)).await?;
    }
    Ok(())
}

/// One attempt, within the running call's deadline.
pub async fn ask<T>(work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    let call = Call::current()?;
    let left = call.deadline.map_or(ATTEMPT, |until| until.saturating_duration_since(Instant::now()));
    let limit = ATTEMPT.min(left);
    // A call is large: in place, whatever asks would be several times as large.
    let attempt = kit::call::run(call.detached(limit), Box::pin(work));
    let reply = tokio::time::timeout(limit, attempt).await.map_err(|_| too_slow())?;
    reply.map(Response::into_inner).map_err(Error::from)
}

/// Why an order is refused; of a card that was declined, with the code of its provider.
pub fn why(error: &Error) -> Rejection {
    let code = error.metadata("decline_code").filter(|code| error.reason() == "PAYMENT_DECLINED" && !code.is_empty());
    let message = match code {
        Some(code) => format!("{} Decline code: `{code}`.", error.message()),
        None => error.message().to_owned(),
    };
    Rejection { reason: error.reason().to_owned(), message }
}

/// What keeps a step from going on.
pub fn halt(step: &'static str, error: Error) -> Halt {
    // Of a payment less can be given back than a moment ago: the next look sees how much.
    let waits = [Reason::PaymentProcessing, Reason::PaymentActionRequired, Reason::RefundExceedsCaptured];
    let waits = waits.iter().any(|reason| reason.as_str_name() == format!("REASON_{}", error.reason()));
    Halt { step, refused: error.definitive() && !waits, error }
}

/// Why a provider refused.
pub fn declined(decline: Option<payment::Decline>) -> Error {
    let payment::Decline { code, message } = decline.unwrap_or_default();
    let sentence = if message.is_empty() { "The payment was refused. Pay with something else." } else { &message };
    Error::new(Reason::PaymentDeclined, sentence).with("decline_code", code)
}

/// Those pieces that are kept in stock.
fn physical(purchase: &Purchase, lines: &[LineQuantity]) -> Vec<LineQuantity> {
    lines.iter().filter(|pieces| purchase.is_physical(&pieces.variant_id)).cloned().collect()
}

fn reservation_lines(pieces: &[LineQuantity]) -> Vec<ReservationLine> {
    let line = |pieces: &LineQuantity| ReservationLine {
        variant_id: pieces.variant_id.clone(),
        quantity: pieces.quantity,
        committed: 0,
    };
    pieces.iter().map(line).collect()
}

/// When goods that leave now can no longer be returned.
fn closes(service: &Service) -> kit::Timestamp {
    service.0.db.clock().now() + service.0.settings.return_window
}

fn stock(service: &Service) -> InventoryServiceClient<kit::link::Link> {
    InventoryServiceClient::new(service.0.inventory.clone())
}

/// The way to payment.
pub fn money(service: &Service) -> PaymentServiceClient<kit::link::Link> {
    PaymentServiceClient::new(service.0.payment.clone())
}

fn too_slow() -> Error {
    Error::named("DEADLINE_EXCEEDED", "It took too long. Order again.")
}
