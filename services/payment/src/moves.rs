//! Every move that a payment can make, whoever carries it out. No await, no clock, no I/O.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

use crate::{
    payment::{Command, Evidence, Fact, Payment, Release, State, Step, declined},
    refund::{self, Refund},
};

impl Payment {
    /// Every legal move. Nothing if the command changes nothing: it was carried out before, or what a provider says is
    /// old news.
    ///
    /// # Errors
    /// Why it is refused: `INVALID_STATE_TRANSITION`, `PAYMENT_PROCESSING`, `PAYMENT_ACTION_REQUIRED`,
    /// `CAPTURE_EXCEEDS_AUTHORIZED`, `REFUND_EXCEEDS_CAPTURED`; `SERIALIZATION_FAILURE` while a capture is under way.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Option<Step>, Error> {
        use State::{Authorized, Captured, Failed, Pending, Processing, RequiresAction, Voided};
        match (self.state, command) {
            (Pending, Command::Ask) => self.step(Processing, vec![Fact::Initiated], now, |_| ()),
            (Pending | RequiresAction | Processing, Command::Learn(evidence)) => self.learn(evidence, now),
            (Failed | Voided, Command::Learn(Evidence::Authorized { reference, .. })) => self.late(reference, now),
            (_, Command::Learn(_)) => Ok(None),
            (RequiresAction, Command::Confirm) => self.step(Processing, vec![], now, |_| ()),
            (Processing | Authorized | Captured, Command::Confirm) if self.action_url.is_some() => Ok(None),
            (Authorized, Command::Capture { atoms, last, taken }) => self.capture(atoms, last, taken, now),
            (Authorized, Command::BeginCapture { closing: true, .. }) => Err(self.under_way()),
            (Authorized, Command::BeginCapture { atoms, last, closing: false }) => {
                self.check_capture(atoms, last, self.captured + atoms)?;
                self.step(Authorized, vec![], now, |payment| payment.capturing += atoms)
            }
            (Authorized | Captured, Command::EndCapture { atoms, last, done }) => {
                self.end_capture(atoms, last, done, now)
            }
            (Pending | RequiresAction, Command::Void { .. }) => self.let_go(Voided, now),
            (Processing, Command::Void { .. }) if self.void_asked => Ok(None),
            (Processing, Command::Void { .. }) => {
                self.step(Processing, vec![], now, |payment| payment.void_asked = true)
            }
            (Authorized, Command::Void { taken }) => {
                self.check_taken(taken)?;
                self.let_go(if self.captured == 0 { Voided } else { Captured }, now)
            }
            (Captured | Failed | Voided, Command::Void { .. }) => Ok(None),
            (RequiresAction, Command::Expire { .. }) => self.fail(unconfirmed(), now),
            (Authorized, Command::Expire { taken }) => {
                self.check_taken(taken)?;
                if self.captured > 0 { self.let_go(Captured, now) } else { self.fail(expired(), now) }
            }
            (_, Command::Released) if self.release == Release::Due => {
                self.step(self.state, vec![], now, |payment| payment.release = Release::Done)
            }
            (_, Command::Released) => Ok(None),
            (Authorized | Captured, Command::Refund { atoms }) => self.refund(atoms, now),
            (Authorized | Captured, Command::EndRefund(refund)) => self.end_refund(refund, now),
            (_, command) => Err(self.refuse(&command)),
        }
    }

    fn step(
        &self,
        state: State,
        facts: Vec<Fact>,
        now: Timestamp,
        change: impl FnOnce(&mut Payment),
    ) -> Result<Option<Step>, Error> {
        let told = i64::try_from(facts.len()).map_err(Error::internal)?;
        let (sequence, told) = (self.sequence + 1, self.facts + told);
        let mut payment = Payment { state, sequence, facts: told, update_time: now, ..self.clone() };
        change(&mut payment);
        Ok(Some(Step { from: self.state, payment, facts }))
    }

    /// What the provider's answer means for a payment that waits for it.
    fn learn(&self, evidence: Evidence, now: Timestamp) -> Result<Option<Step>, Error> {
        match evidence {
            Evidence::Authorized { reference, expire_time } => {
                self.step(State::Authorized, vec![Fact::Success], now, |payment| {
                    payment.reference = Some(reference);
                    payment.expire_time = Some(expire_time);
                })
            }
            // Asked for once: told again after the buyer has confirmed, it is old news.
            Evidence::ActionRequired { .. } if self.action_url.is_some() => Ok(None),
            Evidence::ActionRequired { reference, url, expire_time } => {
                self.step(State::RequiresAction, vec![Fact::ActionRequired], now, |payment| {
                    payment.reference = Some(reference);
                    payment.action_url = Some(url);
                    payment.expire_time = Some(expire_time);
                })
            }
            Evidence::Refused(refusal) => {
                self.step(State::Failed, vec![Fact::Failed], now, |payment| payment.refusal = Some(refusal))
            }
            Evidence::Undecided => Ok(None),
        }
    }

    /// A success that comes when the payment has ended: it never resurrects, the provider has to let go again.
    fn late(&self, reference: String, now: Timestamp) -> Result<Option<Step>, Error> {
        if self.release != Release::None {
            return Ok(None);
        }
        self.step(self.state, vec![], now, |payment| {
            payment.reference = Some(reference);
            payment.release = Release::Due;
        })
    }

    fn capture(&self, atoms: i64, last: bool, taken: i64, now: Timestamp) -> Result<Option<Step>, Error> {
        self.check_capture(atoms, last, taken)?;
        let state = self.after_capture(self.captured + atoms, last);
        self.step(state, vec![Fact::Captured(atoms)], now, |payment| payment.captured += atoms)
    }

    fn end_capture(&self, atoms: i64, last: bool, done: bool, now: Timestamp) -> Result<Option<Step>, Error> {
        if !done {
            return self.step(self.state, vec![], now, |payment| payment.capturing -= atoms);
        }
        let state = self.after_capture(self.captured + atoms, last);
        self.step(state, vec![Fact::Captured(atoms)], now, |payment| {
            payment.capturing -= atoms;
            payment.captured += atoms;
        })
    }

    fn after_capture(&self, captured: i64, last: bool) -> State {
        if last || captured == self.amount || self.state == State::Captured {
            State::Captured
        } else {
            State::Authorized
        }
    }

    fn check_capture(&self, atoms: i64, last: bool, taken: i64) -> Result<(), Error> {
        if atoms <= 0 || atoms > self.capturable() {
            let remaining = self.currency.show(self.capturable());
            let message = format!("{} {} can still be taken of this payment.", remaining.value, remaining.unit);
            return Err(Error::new(Reason::CaptureExceedsAuthorized, message)
                .with("remaining", remaining.value)
                .with("unit", remaining.unit));
        }
        // The last one lets go of the rest: every other one has to be written down before.
        if last { self.check_taken(taken - atoms) } else { Ok(()) }
    }

    /// Refuses as long as the provider took, or is taking, more than is written down here.
    fn check_taken(&self, taken: i64) -> Result<(), Error> {
        if self.capturing == 0 && taken <= self.captured {
            return Ok(());
        }
        Err(self.under_way())
    }

    fn under_way(&self) -> Error {
        let message = "Another capture of this payment is under way. Try again in a moment.";
        Error::new(Reason::SerializationFailure, message).with("payment", &self.id)
    }

    /// Lets go of what was not taken. Only a provider outside of the house still has to be told.
    fn let_go(&self, state: State, now: Timestamp) -> Result<Option<Step>, Error> {
        let release = if self.in_house() || self.provider.is_empty() { Release::None } else { Release::Due };
        self.step(state, vec![Fact::Voided], now, |payment| payment.release = release)
    }

    fn fail(&self, refusal: Error, now: Timestamp) -> Result<Option<Step>, Error> {
        let release = if self.in_house() { Release::None } else { Release::Due };
        self.step(State::Failed, vec![Fact::Failed], now, |payment| {
            payment.refusal = Some(refusal);
            payment.release = release;
        })
    }

    fn refund(&self, atoms: i64, now: Timestamp) -> Result<Option<Step>, Error> {
        let left = self.captured - self.refunded;
        if atoms <= 0 || atoms > left {
            let remaining = self.currency.show(left);
            let message = format!("{} {} of this payment can still be given back.", remaining.value, remaining.unit);
            return Err(Error::new(Reason::RefundExceedsCaptured, message)
                .with("remaining", remaining.value)
                .with("unit", remaining.unit));
        }
        self.step(self.state, vec![], now, |payment| payment.refunded += atoms)
    }

    fn end_refund(&self, refund: Box<Refund>, now: Timestamp) -> Result<Option<Step>, Error> {
        match refund.state {
            refund::State::Succeeded => self.step(self.state, vec![Fact::RefundSucceeded(refund)], now, |_| ()),
            refund::State::Failed => {
                let atoms = refund.atoms;
                self.step(self.state, vec![Fact::RefundFailed(refund)], now, |payment| payment.refunded -= atoms)
            }
            refund::State::Pending | refund::State::Processing => Ok(None),
        }
    }

    fn refuse(&self, command: &Command) -> Error {
        if let (Command::Confirm, Some(refusal)) = (command, &self.refusal) {
            return refusal.clone();
        }
        let state = self.state.name();
        let (reason, message) = match (self.state, command) {
            (State::Processing, _) => {
                (Reason::PaymentProcessing, "The provider has not answered yet. Ask again.".to_owned())
            }
            (State::RequiresAction, Command::Capture { .. } | Command::BeginCapture { .. }) => {
                (Reason::PaymentActionRequired, "The buyer has to confirm the payment first.".to_owned())
            }
            (_, Command::Refund { .. }) => {
                (Reason::RefundExceedsCaptured, format!("Nothing was taken: the payment is {state}."))
            }
            _ => (Reason::InvalidStateTransition, format!("The payment is {state}, which does not allow this.")),
        };
        let error = Error::new(reason, message).with("payment", &self.id).with("from", state);
        match command {
            Command::Refund { .. } => error.with("remaining", self.currency.show(0).value),
            _ => error,
        }
    }
}

/// Nobody confirmed it in time.
fn unconfirmed() -> Error {
    declined("action_expired", "The payment was not confirmed in time, so no money was taken. Order again.")
}

/// Nobody took the money in time.
fn expired() -> Error {
    let message = "The money was not taken in time, and is available again. Order again.";
    Error::new(Reason::HoldExpired, message).with("decline_code", "expired")
}
