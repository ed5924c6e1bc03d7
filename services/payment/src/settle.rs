//! Asking a provider, and writing down what it says. Every step can be repeated by whoever finds it unfinished: providers
//! are asked under derived keys, and a unit writes an answer only if it is news.

use contracts::r#type::v1::Reason;
use kit::{Call, Error, Scope, Timestamp};
use storage::{Session, Unit, failpoint};
use tokio::time::Instant;

use crate::{
    Service,
    payment::{Command, Evidence, Payment, State, Step},
    provider::{Authorization, Provider, RefundEvidence, Taking, Token},
    refund::{self, Refund},
    store::{
        self,
        captures::{self, Capture},
    },
};

/// What became of a new payment.
pub enum Opened {
    /// It is written.
    New(Payment),
    /// There was one with this id.
    Existing(Payment),
}

/// Writes the first move of a payment, unless there is one with its id. What was voided before it was asked for learns
/// what the provider did in the meantime.
///
/// # Errors
/// See [`storage::Db::write`]; so for every function here, besides what providers refuse.
pub async fn open(service: &Service, payment: &Payment, command: Command) -> Result<Opened, Error> {
    let work = async |unit: &mut Unit| {
        let step = payment.decide(command.clone(), unit.now())?;
        let step = step.ok_or_else(|| Error::internal("the first move of a payment changes nothing"))?;
        if store::payments::insert(unit, &step, service.soon(unit.now())).await? {
            return Ok(Opened::New(step.payment));
        }
        let mut existing = lock(unit, &payment.id).await?;
        if existing.provider.is_empty() {
            existing.provider.clone_from(&payment.provider);
        }
        match &command {
            Command::Learn(evidence) => learn(service, unit, existing, evidence.clone()).await.map(Opened::Existing),
            _ => Ok(Opened::Existing(existing)),
        }
    };
    service.0.db.write(work).await
}

/// Moves a payment on, from what was read of it or from what somebody else has made of it since.
pub async fn change(service: &Service, payment: &Payment, command: Command) -> Result<Payment, Error> {
    let work = async |unit: &mut Unit| {
        let mut payment = payment.clone();
        loop {
            let Some(step) = payment.decide(command.clone(), unit.now())? else { return Ok(payment) };
            if store::payments::save(unit, &step, service.soon(unit.now())).await? {
                return Ok(step.payment);
            }
            payment = lock(unit, &payment.id).await?;
        }
    };
    service.0.db.write(work).await
}

/// Asks the provider to secure the money, and writes what it says.
pub async fn authorize(service: &Service, payment: &Payment) -> Result<Payment, Error> {
    let method_id = payment.method_id.as_deref().unwrap_or_default();
    let method =
        service.0.db.read(async |session: &mut Session| store::methods::load(session, method_id).await).await?;
    let token = method.map(|method| method.token).unwrap_or_default();
    failpoint::hit("payment-before-provider");
    let evidence = ask(service, payment, &token).await?;
    failpoint::hit("payment-after-provider");
    told(service, &payment.id, evidence).await
}

/// Asks the provider to secure the money. What it refuses is evidence, too.
pub async fn ask(service: &Service, payment: &Payment, token: &Token) -> Result<Evidence, Error> {
    // From the creation, so that a repeat asks for the same.
    let expire_time = payment.create_time + service.0.settings.authorization_lifetime;
    let asked = Authorization { payment, token, expire_time };
    refused(service.provider(payment)?.authorize(&asked).await)
}

/// Tells the provider that the buyer has confirmed, and writes what it says.
pub async fn confirm(service: &Service, payment: &Payment) -> Result<Payment, Error> {
    let evidence = refused(service.provider(payment)?.confirm(payment).await)?;
    failpoint::hit("payment-after-confirm");
    told(service, &payment.id, evidence).await
}

fn refused(answer: Result<Evidence, Error>) -> Result<Evidence, Error> {
    match answer {
        Err(error) if error.definitive() => Ok(Evidence::Refused(error)),
        answer => answer,
    }
}

/// Writes what a provider says about a payment.
pub async fn told(service: &Service, id: &str, evidence: Evidence) -> Result<Payment, Error> {
    let work = async |unit: &mut Unit| {
        let payment = lock(unit, id).await?;
        learn(service, unit, payment, evidence).await
    };
    service.0.db.write(work).await
}

/// What a provider says about a payment that is locked. One that was to be voided as soon as it is known, is.
pub async fn learn(service: &Service, unit: &mut Unit, payment: Payment, evidence: Evidence) -> Result<Payment, Error> {
    let Some(step) = payment.decide(Command::Learn(evidence), unit.now())? else { return Ok(payment) };
    if payment.state.is_final() {
        tracing::warn!(payment = payment.id, state = payment.state.name(), "a success came too late and is given back");
    }
    let payment = save_locked(service, unit, step).await?;
    if !payment.void_asked {
        return Ok(payment);
    }
    match payment.decide(Command::Void { taken: payment.captured }, unit.now())? {
        Some(step) => save_locked(service, unit, step).await,
        None => Ok(payment),
    }
}

/// Takes money in the house: the ledger first, and then one unit.
pub async fn capture(service: &Service, payment: &Payment, capture: Capture) -> Result<Payment, Error> {
    let Capture { shipment_id, asked, atoms, last, .. } = &capture;
    // What is refused here is not asked of the ledger.
    payment.decide(
        Command::Capture { atoms: *atoms, last: *last, taken: payment.captured + atoms },
        payment.update_time,
    )?;
    let asked = Taking { payment, shipment_id, atoms: *asked, last: *last };
    let taken = service.provider(payment)?.capture(&asked).await?;
    failpoint::hit("payment-after-ledger");
    let command = Command::Capture { atoms: taken.atoms, last: *last, taken: taken.total };
    let capture = Capture { atoms: taken.atoms, state: captures::State::Succeeded, ..capture.clone() };
    let work = async |unit: &mut Unit| {
        let (mut payment, soon) = (payment.clone(), service.soon(unit.now()));
        loop {
            let Some(step) = payment.decide(command.clone(), unit.now())? else { return Ok(payment) };
            if store::payments::save(unit, &step, soon).await? {
                captures::save(unit, &capture, soon).await?;
                return Ok(step.payment);
            }
            payment = lock(unit, &payment.id).await?;
            if captures::load(unit, &payment.id, &capture.shipment_id).await?.is_some() {
                return Ok(payment);
            }
        }
    };
    service.0.db.write(work).await
}

/// Notes that a provider outside of the house is about to be asked to take money. Gives back the capture that was noted
/// before, if there is one.
pub async fn begin_capture(service: &Service, capture: Capture) -> Result<(Payment, Capture), Error> {
    let work = async |unit: &mut Unit| {
        let payment = lock(unit, &capture.payment_id).await?;
        if let Some(noted) = captures::load(unit, &payment.id, &capture.shipment_id).await? {
            return Ok((payment, noted));
        }
        let atoms = capture.asked.unwrap_or_else(|| payment.capturable());
        let capture = Capture { atoms, ..capture.clone() };
        let closing = payment.capturing > 0 && captures::closing(unit, &payment.id).await?;
        let step = payment.decide(Command::BeginCapture { atoms, last: capture.last, closing }, unit.now())?;
        let payment = match step {
            Some(step) => save_locked(service, unit, step).await?,
            None => payment,
        };
        captures::save(unit, &capture, service.soon(unit.now())).await?;
        Ok((payment, capture))
    };
    service.0.db.write(work).await
}

/// Asks a provider outside of the house to take money that was noted, and writes what it says.
pub async fn end_capture(service: &Service, payment: &Payment, capture: &Capture) -> Result<Payment, Error> {
    let Capture { shipment_id, atoms, last, .. } = capture;
    let asked = Taking { payment, shipment_id, atoms: Some(*atoms), last: *last };
    let refusal = match service.provider(payment)?.capture(&asked).await {
        Ok(_) => None,
        Err(error) if error.definitive() => Some(error),
        Err(error) => return Err(error),
    };
    failpoint::hit("payment-after-capture");
    let work = async |unit: &mut Unit| {
        let payment = lock(unit, &capture.payment_id).await?;
        let noted = captures::load(unit, &payment.id, shipment_id).await?;
        if noted.is_none_or(|noted| noted.state != captures::State::Processing) {
            return Ok(payment);
        }
        let done = refusal.is_none();
        let state = if done { captures::State::Succeeded } else { captures::State::Failed };
        let ended = Capture { state, refusal: refusal.clone(), ..capture.clone() };
        captures::save(unit, &ended, service.soon(unit.now())).await?;
        match payment.decide(Command::EndCapture { atoms: *atoms, last: *last, done }, unit.now())? {
            Some(step) => save_locked(service, unit, step).await,
            None => Ok(payment),
        }
    };
    let payment = service.0.db.write(work).await?;
    refusal.map_or(Ok(payment), Err)
}

/// Asks the provider to give money back, and writes what it says.
pub async fn refund(service: &Service, id: &str) -> Result<Refund, Error> {
    let found = service.0.db.snapshot(async |session: &mut Session| {
        let Some(refund) = store::refunds::load(session, &Scope::All, id).await? else { return Ok(None) };
        let payment = store::payments::load(session, &Scope::All, &refund.payment_id).await?;
        Ok(payment.map(|payment| (refund, payment)))
    });
    let (refund, payment) = found.await?.ok_or_else(|| not_found("refund", id))?;
    if refund.state != refund::State::Processing {
        return Ok(refund);
    }
    let evidence = match service.provider(&payment)?.refund(&payment, &refund).await {
        Err(error) if error.definitive() => RefundEvidence::Refused(error),
        evidence => evidence?,
    };
    failpoint::hit("refund-after-provider");
    service.0.db.write(async |unit: &mut Unit| end_refund(service, unit, &refund, evidence).await).await
}

/// Writes what a provider says about a refund, and what it means for the payment.
pub async fn end_refund(
    service: &Service,
    unit: &mut Unit,
    refund: &Refund,
    evidence: RefundEvidence,
) -> Result<Refund, Error> {
    let command = match evidence {
        RefundEvidence::Succeeded => refund::Command::Succeed,
        RefundEvidence::Refused(refusal) => refund::Command::Fail(refusal),
    };
    // The payment first: whoever asks for a refund locks it first as well.
    let payment = lock(unit, &refund.payment_id).await?;
    let refund = store::refunds::lock(unit, &refund.id).await?.ok_or_else(|| not_found("refund", &refund.id))?;
    let Some(ended) = refund.decide(command, unit.now())? else { return Ok(refund) };
    store::refunds::save(unit, refund.state, &ended, service.soon(unit.now())).await?;
    if let Some(step) = payment.decide(Command::EndRefund(Box::new(ended.clone())), unit.now())? {
        save_locked(service, unit, step).await?;
    }
    Ok(ended)
}

/// Writes a move of a payment that is locked.
///
/// # Errors
/// `INTERNAL` if it has changed all the same.
pub async fn save_locked(service: &Service, unit: &mut Unit, step: Step) -> Result<Payment, Error> {
    if store::payments::save(unit, &step, service.soon(unit.now())).await? {
        return Ok(step.payment);
    }
    Err(Error::internal(format!("{} changed while it was locked", step.payment.id)))
}

/// A payment, locked until the unit ends.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none.
pub async fn lock(unit: &mut Unit, id: &str) -> Result<Payment, Error> {
    store::payments::lock(unit, id).await?.ok_or_else(|| not_found("payment", id))
}

/// The payment as callers get it: one that was refused is its refusal.
pub fn answer(payment: Payment) -> Result<Payment, Error> {
    match (payment.state, &payment.refusal) {
        (State::Failed, Some(refusal)) => Err(refusal.clone().with("payment", &payment.id)),
        _ => Ok(payment),
    }
}

/// There is nothing with this id, or it belongs to someone else.
pub fn not_found(what: &str, id: &str) -> Error {
    let message = format!("There is no {what} {id}, or it is not yours.");
    Error::new(Reason::ResourceNotFound, message).with("resource", id)
}

impl Service {
    /// Who carries a payment out.
    pub(crate) fn provider(&self, payment: &Payment) -> Result<&dyn Provider, Error> {
        self.provider_named(&payment.provider)
    }

    /// When somebody looks after what is begun at `now`, if it is not ended by then.
    pub(crate) fn soon(&self, now: Timestamp) -> Timestamp {
        now + self.0.settings.reconcile_after
    }

    /// Does `work` to its end, even if the caller leaves, and waits for it as long as the caller does: nothing if it is
    /// still under way then. It is done in the name of the service alone: a user's token may expire meanwhile.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let call = Call::current()?;
        let patience = self.0.settings.patience;
        // A little less than the caller waits, so that it gets an answer.
        let remaining = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()) * 9 / 10);
        let patience = remaining.map_or(patience, |remaining| remaining.min(patience));
        let limit = self.0.settings.provider_limit;
        let own = Call { caller: None, ..call.detached(limit) };
        let work = tokio::spawn(async move { tokio::time::timeout(limit, kit::call::run(own, work)).await });
        match tokio::time::timeout(patience, work).await {
            Err(_) => Ok(None),
            Ok(ended) => match ended.map_err(Error::internal)? {
                Err(_) => Ok(None),
                Ok(answer) => answer.map(Some),
            },
        }
    }
}
