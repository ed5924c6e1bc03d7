//! The steps of a purchase: calls to inventory and payment under ids that are derived from the order, the shipment or the
//! return, so that each can be repeated by whoever finds it unfinished. Nothing is stored here.

use std::time::Duration;

use contracts::{
    inventory::v1::{
        self as inventory, ReservationLine, inventory_service_client::InventoryServiceClient, reservation,
        stock_movement,
    },
    order::v1::{LineQuantity, Return, Shipment},
    payment::v1::{
        self as payment, Payment, payment::State as Paid, payment_service_client::PaymentServiceClient, refund,
    },
    r#type::v1::{Amount, Reason},
};
use kit::{Call, Error};
use storage::failpoint;
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::{
    Service,
    order::{Command, Order, Rejection},
    purchase::Purchase,
    returns,
};

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// For how long goods are set aside before the order is confirmed.
const RESERVED_FOR: i32 = 15 * 60;
/// For how much longer than the buyer has to confirm a payment.
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
    let request = inventory::CreateReservationRequest {
        id: purchase.message().reservation_id.clone(),
        reference: order.id.clone(),
        lines: reservation_lines(&purchase.reserved()),
        lifetime_seconds: RESERVED_FOR,
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
    let lifetime_seconds = i32::try_from(lifetime.as_secs()).unwrap_or(86_400).clamp(1, 86_400);
    let request = inventory::ExtendReservationRequest { id, lifetime_seconds };
    ask(stock(service).extend_reservation(request)).await.map(|_| ())
}

/// Lets go of money and goods that were not shipped, in the reverse order. Both may never have been asked for: then they
/// cannot be any more.
///
/// # Errors
/// What keeps it from going on.
pub async fn undo(service: &Service, order: &Order, purchase: &Purchase) -> Result<Command, Halt> {
    let content = purchase.message();
    if !content.payment_id.is_empty() {
        void(service, order, purchase).await.map_err(|error| halt("void", error))?;
    }
    if !content.reservation_id.is_empty() {
        let (id, reference) = (content.reservation_id.clone(), order.id.clone());
        let request = inventory::ReleaseReservationRequest { id, reference };
        ask(stock(service).release_reservation(request)).await.map_err(|error| halt("release", error))?;
    }
    Ok(Command::Undone { close_time: closes(service) })
}

async fn void(service: &Service, order: &Order, purchase: &Purchase) -> Result<(), Error> {
    let request = payment::VoidPaymentRequest {
        id: purchase.message().payment_id.clone(),
        order_id: order.id.clone(),
        owner_id: order.owner.clone(),
    };
    let payment = ask(money(service).void_payment(request)).await?.payment.unwrap_or_default();
    match payment.state() {
        Paid::Voided | Paid::Failed => Ok(()),
        // A provider may take the money at once. Then it goes back, unless it is for what was shipped.
        Paid::Captured => {
            let kept = purchase.atoms(purchase.message().captured.as_ref())?;
            if kept > 0 || purchase.atoms(payment.captured.as_ref())? <= purchase.atoms(payment.refunded.as_ref())? {
                return Ok(());
            }
            give_back(service, payment.id, None, &order.id).await.map(|_| ())
        }
        _ => Err(Error::new(Reason::PaymentProcessing, "The provider has not let go of the money yet.")),
    }
}

/// Takes packed goods out of stock and the money for them.
///
/// # Errors
/// What keeps it from going on.
pub async fn ship(service: &Service, purchase: &Purchase, parcel: &Shipment) -> Result<Command, Halt> {
    let content = purchase.message();
    let goods = parcel.lines.iter().filter(|pieces| purchase.is_physical(&pieces.variant_id)).cloned();
    let goods: Vec<LineQuantity> = goods.collect();
    if !goods.is_empty() {
        let request = inventory::CommitReservationRequest {
            id: content.reservation_id.clone(),
            shipment_id: parcel.id.clone(),
            lines: reservation_lines(&goods),
        };
        ask(stock(service).commit_reservation(request)).await.map_err(|error| halt("commit-stock", error))?;
        failpoint::hit("shipment-after-commit-stock");
    }
    let amount = parcel.amount.clone().unwrap_or_default();
    capture(service, purchase, parcel, &amount).await.map_err(|error| halt("capture", error))?;
    failpoint::hit("shipment-after-capture");
    Ok(Command::Shipped { amount, close_time: closes(service) })
}

async fn capture(service: &Service, purchase: &Purchase, parcel: &Shipment, amount: &Amount) -> Result<(), Error> {
    let content = purchase.message();
    let due = purchase.atoms(Some(amount))?;
    // What costs nothing takes no money.
    if content.payment_id.is_empty() || due == 0 {
        return Ok(());
    }
    let request = payment::CapturePaymentRequest {
        id: content.payment_id.clone(),
        shipment_id: parcel.id.clone(),
        amount: Some(amount.clone()),
        r#final: purchase.left().is_empty(),
    };
    let payment: Payment = ask(money(service).capture_payment(request)).await?.payment.unwrap_or_default();
    let before = purchase.atoms(content.captured.as_ref())?;
    if purchase.atoms(payment.captured.as_ref())? < before + due {
        return Err(Error::new(Reason::PaymentProcessing, "The provider has not taken the money yet."));
    }
    Ok(())
}

/// Puts goods that are back into stock, if they can be sold again, and gives the money for them back. Gives the refund.
///
/// # Errors
/// What keeps it from going on.
pub async fn take_back(service: &Service, purchase: &Purchase, open: &returns::Open) -> Result<String, Halt> {
    if open.restock {
        restock(service, purchase, &open.content).await.map_err(|error| halt("restock", error))?;
    }
    let amount = open.content.amount.clone().unwrap_or_default();
    let due = purchase.atoms(Some(&amount)).map_err(|error| halt("refund", error))?;
    let payment_id = &purchase.message().payment_id;
    if payment_id.is_empty() || due == 0 {
        return Ok(String::new());
    }
    let refund = give_back(service, payment_id.clone(), Some(amount), &open.content.id).await;
    let refund_id = refund.map_err(|error| halt("refund", error))?;
    failpoint::hit("return-after-refund");
    Ok(refund_id)
}

async fn restock(service: &Service, purchase: &Purchase, content: &Return) -> Result<(), Error> {
    for pieces in content.lines.iter().filter(|pieces| purchase.is_physical(&pieces.variant_id)) {
        let step = format!("restock/{}", pieces.variant_id);
        let request = inventory::AdjustStockRequest {
            request_id: kit::id::derive_uuid(&content.id, &step).to_string(),
            variant_id: pieces.variant_id.clone(),
            kind: stock_movement::Kind::Returned.into(),
            quantity: pieces.quantity,
            reference: content.id.clone(),
            ..Default::default()
        };
        ask(stock(service).adjust_stock(request)).await?;
    }
    Ok(())
}

/// Gives money back, all of it without an amount. A repeat answers as it was first answered, so how it goes is asked
/// for besides.
async fn give_back(service: &Service, payment_id: String, amount: Option<Amount>, what: &str) -> Result<String, Error> {
    let request = payment::CreateRefundRequest {
        request_id: kit::id::derive_uuid(what, "refund").to_string(),
        payment_id,
        amount,
        reference: what.to_owned(),
    };
    let mut refund = ask(money(service).create_refund(request)).await?.refund.unwrap_or_default();
    if matches!(refund.state(), refund::State::Pending | refund::State::Processing) {
        let request = payment::GetRefundRequest { id: refund.id };
        refund = ask(money(service).get_refund(request)).await?.refund.unwrap_or_default();
    }
    match refund.state() {
        refund::State::Succeeded => Ok(refund.id),
        refund::State::Failed => Err(declined(refund.decline)),
        _ => Err(Error::new(Reason::PaymentProcessing, "The provider has not given the money back yet.")),
    }
}

/// One attempt, within the running call's deadline.
pub async fn ask<T>(work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    let call = Call::current()?;
    let left = call.deadline.map_or(ATTEMPT, |until| until.saturating_duration_since(Instant::now()));
    let limit = ATTEMPT.min(left);
    let attempt = kit::call::run(call.detached(limit), work);
    let reply = tokio::time::timeout(limit, attempt).await.map_err(|_| too_slow())?;
    reply.map(Response::into_inner).map_err(Error::from)
}

/// Why an order is refused.
pub fn why(error: &Error) -> Rejection {
    Rejection { reason: error.reason().to_owned(), message: error.message().to_owned() }
}

fn halt(step: &'static str, error: Error) -> Halt {
    let waits = [Reason::PaymentProcessing, Reason::PaymentActionRequired];
    let waits = waits.iter().any(|reason| reason.as_str_name() == format!("REASON_{}", error.reason()));
    Halt { step, refused: error.definitive() && !waits, error }
}

fn declined(decline: Option<payment::Decline>) -> Error {
    let payment::Decline { code, message } = decline.unwrap_or_default();
    let sentence = if message.is_empty() { "The payment was refused. Pay with something else." } else { &message };
    Error::new(Reason::PaymentDeclined, sentence).with("decline_code", code)
}

fn reservation_lines(pieces: &[LineQuantity]) -> Vec<ReservationLine> {
    let line = |pieces: &LineQuantity| ReservationLine {
        variant_id: pieces.variant_id.clone(),
        quantity: pieces.quantity,
        committed: 0,
    };
    pieces.iter().map(line).collect()
}

fn closes(service: &Service) -> kit::Timestamp {
    service.0.db.clock().now() + service.0.settings.return_window
}

fn stock(service: &Service) -> InventoryServiceClient<kit::link::Link> {
    InventoryServiceClient::new(service.0.inventory.clone())
}

fn money(service: &Service) -> PaymentServiceClient<kit::link::Link> {
    PaymentServiceClient::new(service.0.payment.clone())
}

fn too_slow() -> Error {
    Error::named("DEADLINE_EXCEEDED", "It took too long. Order again.")
}
