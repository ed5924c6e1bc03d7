//! A card provider for demos and tests, which behaves like a real one: it has books and delays of its own, declines by
//! card number, loses answers, and tells what it did by callbacks that come early, late or twice. It stands outside of
//! the house: nothing here shares a unit with a payment.

pub mod callbacks;
pub mod cards;
mod store;

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp, config::Secret, link::Link};
use storage::{Db, Session, Unit};

use self::{
    cards::Behavior,
    store::{Charge, State},
};
use crate::{
    payment::{Evidence, Payment, declined},
    provider::{Authorization, Callback, Card, Provider, RefundEvidence, Taken, Taking, Token, invalid_method},
    refund::Refund,
};

/// Its name in a row and in the path of its callbacks.
pub const NAME: &str = "simulator";

/// The simulator. Clones share it.
#[derive(Clone)]
pub struct Simulator {
    db: Db,
    /// The way to the service that its callbacks go to.
    itself: Link,
    /// Signs its callbacks.
    secret: Secret,
}

impl Simulator {
    /// A simulator with its books in `db`.
    pub fn new(db: Db, itself: Link, secret: Secret) -> Self {
        Self { db, itself, secret }
    }

    /// Makes a charge, or finds the one that was made under this key. Nothing if the request got lost.
    async fn charge(&self, asked: &Authorization<'_>) -> Result<Option<Charge>, Error> {
        let Authorization { payment, token, expire_time } = asked;
        let work = async |unit: &mut Unit| {
            if let Some(charge) = store::lock(unit, &payment.id).await? {
                return if charge.atoms == payment.amount { Ok(Some(charge)) } else { Err(other_content(&payment.id)) };
            }
            let Some(behavior) = store::card(unit, token).await? else {
                return Err(invalid_method("The card was removed. Pay with another one."));
            };
            if behavior.failures() > 0 && store::attempt(unit, &payment.id).await? <= behavior.failures() {
                return Ok(None);
            }
            let (state, ready_time) = match behavior {
                Behavior::LateSuccess => (State::Pending, unit.now() + cards::UNDECIDED),
                _ if behavior.confirms() => (State::RequiresAction, unit.now()),
                _ if behavior.decline().is_some() => (State::Declined, unit.now()),
                _ => (State::Authorized, unit.now()),
            };
            let charge =
                Charge { behavior, ready_time, expire_time: *expire_time, ..blank(payment, state, unit.now()) };
            if !store::insert(unit, &charge).await? {
                return store::charge(unit, &payment.id).await;
            }
            let told = evidence(&charge, charge.ready_time);
            callbacks::about_charge(unit, &charge, &told).await?;
            Ok(Some(charge))
        };
        self.db.write(work).await
    }

    /// Whether this is the first answer to a request whose first answer gets lost.
    async fn loses(&self, behavior: Behavior, key: &str) -> Result<bool, Error> {
        if behavior != Behavior::LostAnswer {
            return Ok(false);
        }
        let key = format!("{key}/answer");
        Ok(self.db.write(async |unit: &mut Unit| store::attempt(unit, &key).await).await? == 1)
    }

    fn now(&self) -> Timestamp {
        self.db.clock().now()
    }
}

#[tonic::async_trait]
impl Provider for Simulator {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn authorize(&self, asked: &Authorization<'_>) -> Result<Evidence, Error> {
        let Some(charge) = self.charge(asked).await? else { return Err(unreachable()) };
        if self.loses(charge.behavior, &charge.key).await? {
            return Err(unreachable());
        }
        match charge.behavior {
            Behavior::SlowAnswer => self.db.clock().sleep_until(charge.ready_time + cards::SLOW).await,
            Behavior::EarlyCallback => callbacks::send_authorized(self, &charge).await?,
            _ => {}
        }
        Ok(evidence(&charge, self.now()))
    }

    async fn confirm(&self, payment: &Payment) -> Result<Evidence, Error> {
        let work = async |unit: &mut Unit| {
            let mut charge = store::lock(unit, &payment.id).await?.ok_or_else(|| unknown(&payment.id))?;
            if charge.state == State::RequiresAction {
                let declined = charge.behavior.decline().is_some();
                charge.state = if declined { State::Declined } else { State::Authorized };
                store::save(unit, &charge).await?;
                let told = evidence(&charge, unit.now());
                callbacks::about_charge(unit, &charge, &told).await?;
            }
            Ok(evidence(&charge, unit.now()))
        };
        self.db.write(work).await
    }

    async fn capture(&self, asked: &Taking<'_>) -> Result<Taken, Error> {
        let Taking { payment, shipment_id, atoms, last } = asked;
        let key = format!("{}/{shipment_id}", payment.id);
        let work = async |unit: &mut Unit| {
            let mut charge = store::lock(unit, &payment.id).await?.ok_or_else(|| unknown(&payment.id))?;
            if let Some(atoms) = store::moved(unit, &key).await? {
                return Ok((charge.behavior, Taken { atoms, total: charge.captured }));
            }
            let left = charge.atoms - charge.captured;
            let atoms = atoms.unwrap_or(left);
            // What was let go is not taken, even if something was taken before.
            let open = charge.state != State::Voided;
            let authorized = open && matches!(evidence(&charge, unit.now()), Evidence::Authorized { .. });
            if !authorized || charge.expire_time <= unit.now() || atoms > left || charge.behavior == Behavior::NoCapture
            {
                return Err(declined(
                    "capture_refused",
                    "The provider does not take this money. Ask for another payment.",
                ));
            }
            let secured = if charge.behavior == Behavior::HalfSecured { charge.atoms / 2 } else { charge.atoms };
            if charge.captured + atoms > secured {
                let message = "The bank has secured less than is taken. Take less, or ask for another payment.";
                return Err(Error::new(Reason::CaptureExceedsAuthorized, message).with("payment", &payment.id));
            }
            charge.captured += atoms;
            charge.state = if *last { State::Voided } else { State::Authorized };
            store::save(unit, &charge).await?;
            store::note_move(unit, &key, &charge.key, "capture", atoms).await?;
            Ok((charge.behavior, Taken { atoms, total: charge.captured }))
        };
        let (behavior, taken) = self.db.write(work).await?;
        if self.loses(behavior, &key).await? { Err(unreachable()) } else { Ok(taken) }
    }

    async fn void(&self, payment: &Payment) -> Result<i64, Error> {
        let work = async |unit: &mut Unit| {
            // Kept for a request that was overtaken.
            if store::insert(unit, &blank(payment, State::Voided, unit.now())).await? {
                return Ok(0);
            }
            let mut charge = store::lock(unit, &payment.id).await?.ok_or_else(|| unknown(&payment.id))?;
            if evidence(&charge, unit.now()) == Evidence::Undecided {
                return Err(unreachable());
            }
            charge.state = if charge.state == State::Declined { State::Declined } else { State::Voided };
            store::save(unit, &charge).await?;
            Ok(charge.captured)
        };
        self.db.write(work).await
    }

    async fn refund(&self, payment: &Payment, refund: &Refund) -> Result<RefundEvidence, Error> {
        let work = async |unit: &mut Unit| {
            let mut charge = store::lock(unit, &payment.id).await?.ok_or_else(|| unknown(&payment.id))?;
            if store::moved(unit, &refund.id).await?.is_some() {
                return Ok((charge.behavior, RefundEvidence::Succeeded));
            }
            let refused = charge.behavior == Behavior::NoRefund || charge.refunded + refund.atoms > charge.captured;
            let refusal = refused.then(|| declined("refund_refused", "The provider does not give this money back."));
            if refusal.is_none() {
                charge.refunded += refund.atoms;
                store::save(unit, &charge).await?;
                store::note_move(unit, &refund.id, &charge.key, "refund", refund.atoms).await?;
            }
            callbacks::about_refund(unit, &charge, &refund.id, refusal.as_ref()).await?;
            Ok((charge.behavior, refusal.map_or(RefundEvidence::Succeeded, RefundEvidence::Refused)))
        };
        let (behavior, evidence) = self.db.write(work).await?;
        if self.loses(behavior, &refund.id).await? { Err(unreachable()) } else { Ok(evidence) }
    }

    async fn find(&self, payment: &Payment) -> Result<Option<Evidence>, Error> {
        let found = self.db.read(async |session: &mut Session| store::charge(session, &payment.id).await).await?;
        Ok(found.map(|charge| evidence(&charge, self.now())))
    }

    async fn tokenize(&self, id: &str, card: &Card) -> Result<Token, Error> {
        let number = card.number.reveal();
        let Some(behavior) = Behavior::of(number) else {
            let message =
                "Only test cards are taken here, such as 4242 4242 4242 4242. Never send the number of a real card.";
            return Err(invalid_method(message).with("decline_code", "test_cards_only"));
        };
        if card.security_code.reveal().len() != 3 {
            let message = "The security code of this card has three digits.";
            return Err(invalid_method(message).with("decline_code", "incorrect_security_code"));
        }
        let work = async |unit: &mut Unit| {
            if let Some(token) = store::card_kept(unit, id).await? {
                return Ok(Some(token));
            }
            if behavior == Behavior::UnreachedAtFirst && store::attempt(unit, id).await? == 1 {
                return Ok(None);
            }
            let token = Token::new(format!("tok_{}", Secret::random().reveal()));
            store::insert_card(unit, id, &token, behavior).await?;
            Ok(Some(token))
        };
        let token = self.db.write(work).await?.ok_or_else(unreachable)?;
        let answered = behavior != Behavior::AnswerLostAtFirst || {
            let answer = format!("{id}/answer");
            self.db.write(async |unit: &mut Unit| store::attempt(unit, &answer).await).await? > 1
        };
        if answered { Ok(token) } else { Err(unreachable()) }
    }

    async fn kept(&self, id: &str) -> Result<Option<Token>, Error> {
        self.db.read(async |session: &mut Session| store::card_kept(session, id).await).await
    }

    async fn forget(&self, token: &Token) -> Result<(), Error> {
        self.db.write(async |unit: &mut Unit| store::forget_card(unit, token).await).await
    }

    fn read(&self, payload: &str) -> Result<Callback, Error> {
        callbacks::read(payload)
    }
}

/// A charge of which nothing was taken.
fn blank(payment: &Payment, state: State, now: Timestamp) -> Charge {
    let amount = payment.currency.show(payment.amount);
    Charge {
        key: payment.id.clone(),
        id: kit::id::derive("chg", &payment.id, "charge"),
        behavior: Behavior::Approve,
        unit: amount.unit,
        amount: amount.value,
        atoms: payment.amount,
        captured: 0,
        refunded: 0,
        state,
        ready_time: now,
        expire_time: now,
    }
}

/// What the provider says about a charge at a time.
fn evidence(charge: &Charge, now: Timestamp) -> Evidence {
    let (reference, expire_time) = (charge.id.clone(), charge.expire_time);
    match charge.state {
        State::Pending if now < charge.ready_time => Evidence::Undecided,
        State::Pending | State::Authorized => Evidence::Authorized { reference, expire_time },
        // What was captured with the rest let go was authorized, too.
        State::Voided if charge.captured > 0 => Evidence::Authorized { reference, expire_time },
        State::Voided => Evidence::Refused(declined("voided", "The payment was let go at the provider.")),
        State::RequiresAction => {
            // A name that stands for nobody (RFC 2606): there is no page to confirm on, only the RPC.
            let url = format!("https://simulator.example/confirm/{}", charge.key);
            Evidence::ActionRequired { reference, url, expire_time: charge.ready_time + crate::ACTION_LIFETIME }
        }
        State::Declined => {
            let (code, message) = charge.behavior.decline().unwrap_or(("card_declined", "The card was declined."));
            Evidence::Refused(declined(code, message))
        }
    }
}

fn unreachable() -> Error {
    Error::new(Reason::ProviderUnavailable, "The card provider has not answered. Try again.")
}

fn unknown(key: &str) -> Error {
    Error::new(Reason::ResourceNotFound, "The provider knows nothing of this payment.").with("resource", key)
}

fn other_content(key: &str) -> Error {
    let message = "The provider was asked for something else under the same key.";
    Error::new(Reason::IdempotencyKeyReused, message).with("request_id", key)
}
