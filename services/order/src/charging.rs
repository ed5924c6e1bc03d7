//! Money of a purchase once it is confirmed: whether it is still there for a parcel, taking it, and letting go of it.

use contracts::{
    order::v1::Return,
    payment::v1::{self as payment, Payment, Refund, payment::State as Paid, refund::State as Stands},
    r#type::v1::{Amount, Reason},
};
use kit::{Error, Timestamp};

use crate::{
    Service,
    order::Order,
    purchase::Purchase,
    shipment,
    steps::{ask, declined, money},
};

/// The largest page of refunds, and how many pages of one payment are read.
const PAGE: i32 = 200;
const PAGES: usize = 50;

/// Where the money for a parcel is.
pub enum Funds {
    /// It can be taken, or costs nothing.
    There,
    /// It is being taken: the provider has not said yet what became of that.
    BeingTaken,
    /// It was taken: by an attempt whose answer was lost, or by a provider that takes everything at once.
    Taken,
    /// It cannot be taken any more, and why.
    Gone(Error),
}

/// Asks where the money for a parcel is.
///
/// # Errors
/// What keeps payment from answering.
pub async fn funds(service: &Service, purchase: &Purchase, amount: &Amount) -> Result<Funds, Error> {
    let content = purchase.message();
    let due = purchase.atoms(Some(amount))?;
    // What costs nothing takes no money.
    if content.payment_id.is_empty() || due == 0 {
        return Ok(Funds::There);
    }
    let payment = load(service, content.payment_id.clone()).await?;
    let after = purchase.atoms(content.captured.as_ref())? + due;
    let captured = purchase.atoms(payment.captured.as_ref())?;
    if captured >= after {
        return Ok(Funds::Taken);
    }
    let secured = purchase.atoms(payment.amount.as_ref())?;
    // Only one thing at a time is under way on an order: what is being taken is for this parcel.
    let being_taken = secured - captured > purchase.atoms(payment.capturable.as_ref())?;
    let expire_time = payment.expire_time.as_ref().map(Timestamp::from_proto);
    let expired = expire_time.is_some_and(|time| time <= service.0.db.clock().now());
    match payment.state() {
        Paid::Authorized if secured >= after && being_taken => Ok(Funds::BeingTaken),
        Paid::Authorized if secured >= after && !expired => Ok(Funds::There),
        Paid::Pending | Paid::Processing | Paid::RequiresAction | Paid::Unspecified => {
            Err(Error::new(Reason::PaymentProcessing, "The money is not secured yet."))
        }
        Paid::Authorized | Paid::Captured | Paid::Voided | Paid::Failed => Ok(Funds::Gone(gone(&payment))),
    }
}

/// Why money that was secured cannot be taken any more, in the words of the provider if it has any.
pub fn gone(payment: &Payment) -> Error {
    let said = payment.decline.as_ref().map(|decline| decline.message.as_str()).filter(|said| !said.is_empty());
    let message = said.unwrap_or("The money is not secured any more, so nothing is shipped for it. Order again.");
    Error::new(Reason::HoldExpired, message).with("payment", &payment.id)
}

/// Takes the money for a parcel.
///
/// # Errors
/// What payment refuses, and what keeps it from answering.
pub async fn capture(
    service: &Service,
    purchase: &Purchase,
    open: &shipment::Open,
    amount: &Amount,
) -> Result<(), Error> {
    let content = purchase.message();
    let due = purchase.atoms(Some(amount))?;
    if content.payment_id.is_empty() || due == 0 {
        return Ok(());
    }
    let request = payment::CapturePaymentRequest {
        id: content.payment_id.clone(),
        shipment_id: open.charge_id(),
        amount: Some(amount.clone()),
        r#final: purchase.left().is_empty(),
    };
    let payment = ask(money(service).capture_payment(request)).await?.payment.unwrap_or_default();
    let before = purchase.atoms(content.captured.as_ref())?;
    if purchase.atoms(payment.captured.as_ref())? < before + due {
        return Err(Error::new(Reason::PaymentProcessing, "The provider has not taken the money yet."));
    }
    Ok(())
}

/// Lets go of the money that was not taken.
///
/// # Errors
/// What payment refuses, and what keeps it from answering.
pub async fn void(service: &Service, order: &Order, purchase: &Purchase) -> Result<(), Error> {
    let request = payment::VoidPaymentRequest {
        id: purchase.message().payment_id.clone(),
        order_id: order.id.clone(),
        owner_id: order.owner.clone(),
    };
    let payment = ask(money(service).void_payment(request)).await?.payment.unwrap_or_default();
    match payment.state() {
        Paid::Voided | Paid::Failed => Ok(()),
        // A provider may take the money at once. Then it goes back, but for what was shipped.
        Paid::Captured => {
            let kept = purchase.atoms(purchase.message().captured.as_ref())?;
            let due = purchase.atoms(payment.captured.as_ref())? - kept;
            give_back(service, purchase, due, &order.id).await.map(|_| ())
        }
        _ => Err(Error::new(Reason::PaymentProcessing, "The provider has not let go of the money yet.")),
    }
}

/// The money for pieces that came back.
pub struct GivenBack {
    /// `rfd_…`; empty if nothing was left to give back.
    pub refund_id: String,
    /// How much.
    pub amount: Amount,
    /// How much of what is due had been given back before.
    pub before: Option<Amount>,
}

/// Gives the money for pieces that came back.
///
/// # Errors
/// What payment refuses, and what keeps it from answering.
pub async fn refund(service: &Service, purchase: &Purchase, content: &Return) -> Result<GivenBack, Error> {
    let due = purchase.atoms(content.amount.as_ref())?;
    let (refund_id, atoms) = match purchase.message().payment_id.is_empty() {
        true => (String::new(), due),
        false => give_back(service, purchase, due, &content.id).await?,
    };
    let before = (due > atoms).then(|| purchase.amount(due - atoms)).transpose()?;
    Ok(GivenBack { refund_id, amount: purchase.amount(atoms)?, before })
}

/// Gives money back for something, once: all that is due, or what was not given back otherwise. A refund that was made
/// for it is looked up first, since payment forgets the keys of requests after a week. One that failed is made again
/// under another key; whoever is told to try again comes here.
async fn give_back(service: &Service, purchase: &Purchase, due: i64, what: &str) -> Result<(String, i64), Error> {
    if due <= 0 {
        return Ok((String::new(), 0));
    }
    let payment_id = &purchase.message().payment_id;
    // Before the refunds: those that have lessened what is left are seen among them.
    let payment = load(service, payment_id.clone()).await?;
    let left = purchase.atoms(payment.captured.as_ref())? - purchase.atoms(payment.refunded.as_ref())?;
    let mut made = refunds(service, payment_id).await?;
    // What support gives back is something else, whatever it says that it is for.
    made.retain(|refund| refund.automatic && refund.reference == what);
    let failed = made.iter().filter(|refund| refund.state() == Stands::Failed).count();
    if let Some(refund) = made.into_iter().find(|refund| refund.state() != Stands::Failed) {
        return given(purchase, refund);
    }
    let atoms = due.min(left);
    if atoms <= 0 {
        return Ok((String::new(), 0));
    }
    let request = payment::CreateRefundRequest {
        request_id: kit::id::derive_uuid(what, &format!("refund/{failed}/{atoms}")).to_string(),
        payment_id: payment_id.clone(),
        amount: Some(purchase.amount(atoms)?),
        reference: what.to_owned(),
    };
    let reply = ask(money(service).create_refund(request)).await?;
    given(purchase, reply.refund.unwrap_or_default())
}

fn given(purchase: &Purchase, refund: Refund) -> Result<(String, i64), Error> {
    match refund.state() {
        Stands::Succeeded => Ok((refund.id, purchase.atoms(refund.amount.as_ref())?)),
        Stands::Failed => Err(declined(refund.decline)),
        _ => Err(Error::new(Reason::PaymentProcessing, "The provider has not given the money back yet.")),
    }
}

/// The refunds of a payment, whoever made them.
///
/// # Errors
/// What keeps payment from answering.
pub async fn refunds(service: &Service, payment_id: &str) -> Result<Vec<Refund>, Error> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let request = payment::ListRefundsRequest { page_size: PAGE, page_token, payment_id: payment_id.to_owned() };
        let reply = ask(money(service).list_refunds(request)).await?;
        found.extend(reply.refunds);
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
    Err(Error::internal(format!("{payment_id} has more refunds than can be looked through")))
}

/// A payment as it stands.
async fn load(service: &Service, id: String) -> Result<Payment, Error> {
    let reply = ask(money(service).get_payment(payment::GetPaymentRequest { id })).await?;
    reply.payment.ok_or_else(|| Error::internal("payment answers without a payment"))
}
