//! The provider that is the house itself: holds of the ledger. It is asked before anything is written down here, under
//! ids that are derived from the payment; a call whose answer is lost is repeated by whoever called us.

use contracts::{
    ledger::v1::{
        CreateHoldRequest, Entry, GetHoldRequest, Hold, PostHoldRequest, PostTransactionRequest, VoidHoldRequest,
        hold::State, ledger_service_client::LedgerServiceClient,
    },
    r#type::v1::{Amount, Reason},
};
use kit::{Call, Error, Timestamp, amount, link::Link};

use crate::{
    money::Currency,
    payment::{Evidence, Payment, WALLET},
    provider::{Authorization, Callback, Card, Provider, RefundEvidence, Taken, Taking, Token, invalid_method},
    refund::Refund,
};

/// The account that gets what is bought, and gives back what is refunded.
const HOUSE_SALES: &str = "house/sales";

/// The wallet, over a way to the ledger.
pub struct Wallet(Link);

impl Wallet {
    /// The wallet behind a way to the ledger.
    pub fn new(ledger: Link) -> Self {
        Self(ledger)
    }

    /// The hold of a payment.
    async fn hold(&self, payment: &Payment) -> Result<Hold, Error> {
        let request = GetHoldRequest { id: hold_id(&payment.id) };
        let reply = ours(LedgerServiceClient::new(self.0.clone()).get_hold(request)).await?;
        reply.hold.ok_or_else(|| Error::internal("the ledger answers without a hold"))
    }
}

#[tonic::async_trait]
impl Provider for Wallet {
    fn name(&self) -> &'static str {
        WALLET
    }

    async fn authorize(&self, asked: &Authorization<'_>) -> Result<Evidence, Error> {
        let Authorization { payment, expire_time, .. } = asked;
        let request = CreateHoldRequest {
            id: hold_id(&payment.id),
            owner_id: payment.owner.clone(),
            amount: Some(payment.currency.show(payment.amount)),
            reference: payment.id.clone(),
            expire_time: Some(expire_time.to_proto()),
        };
        match ours(LedgerServiceClient::new(self.0.clone()).create_hold(request)).await {
            Ok(reply) => evidence(reply.hold, *expire_time),
            // A repeat of what we do not know any more: the hold was made, and expires when it was to expire then.
            Err(error) if error.reason() == "IDEMPOTENCY_KEY_REUSED" => {
                let hold = self.hold(payment).await?;
                if is_for(payment, &hold) { evidence(Some(hold), *expire_time) } else { Err(error) }
            }
            // What the ledger refuses because of the money is the end of this payment. Anything else is a fault of the
            // request, and nothing was done.
            Err(error) if error.code() == tonic::Code::FailedPrecondition && error.definitive() => {
                Ok(Evidence::Refused(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn confirm(&self, _payment: &Payment) -> Result<Evidence, Error> {
        Err(Error::internal("the wallet asks nobody to confirm"))
    }

    async fn capture(&self, asked: &Taking<'_>) -> Result<Taken, Error> {
        let Taking { payment, shipment_id, atoms, last } = asked;
        let request = PostHoldRequest {
            id: hold_id(&payment.id),
            transaction_id: kit::id::derive("txn", &payment.id, shipment_id),
            amount: atoms.map(|atoms| payment.currency.show(atoms)),
            to_account: HOUSE_SALES.to_owned(),
            kind: "purchase".to_owned(),
            r#final: *last,
        };
        let reply = match ours(LedgerServiceClient::new(self.0.clone()).post_hold(request)).await {
            Err(error) if error.reason() == "EXCEEDS_HOLD" => {
                let message = "More is taken than was secured. Take less.";
                return Err(Error::new(Reason::CaptureExceedsAuthorized, message).with("payment", &payment.id));
            }
            reply => reply?,
        };
        let entries = reply.transaction.map(|transaction| transaction.entries).unwrap_or_default();
        // The house's account is kept in parts.
        let to_house = |entry: &&Entry| entry.owner.starts_with("house/");
        let moved = entries.iter().find(to_house).and_then(|entry| entry.amount.as_ref());
        let moved = moved.ok_or_else(|| Error::internal("the ledger answers without the entry of the house"))?;
        Ok(Taken { atoms: atoms_of(payment, moved)?, total: posted(payment, reply.hold.as_ref())? })
    }

    async fn void(&self, payment: &Payment) -> Result<i64, Error> {
        let request = VoidHoldRequest { id: hold_id(&payment.id) };
        match ours(LedgerServiceClient::new(self.0.clone()).void_hold(request)).await {
            Ok(reply) => posted(payment, reply.hold.as_ref()),
            // It has ended by itself: nothing is set aside any more.
            Err(error) if matches!(error.reason(), "HOLD_ALREADY_POSTED" | "HOLD_ALREADY_VOIDED" | "HOLD_EXPIRED") => {
                posted(payment, Some(&self.hold(payment).await?))
            }
            Err(error) => Err(error),
        }
    }

    async fn refund(&self, payment: &Payment, refund: &Refund) -> Result<RefundEvidence, Error> {
        let entry = |owner: &str, atoms| Entry { owner: owner.to_owned(), amount: Some(payment.currency.show(atoms)) };
        let request = PostTransactionRequest {
            request_id: kit::id::derive_uuid(&refund.id, "refund").to_string(),
            kind: "refund".to_owned(),
            reference: refund.id.clone(),
            entries: vec![entry(HOUSE_SALES, -refund.atoms), entry(&refund.owner, refund.atoms)],
        };
        match ours(LedgerServiceClient::new(self.0.clone()).post_transaction(request)).await {
            Ok(_) => Ok(RefundEvidence::Succeeded),
            Err(error) if error.definitive() => Ok(RefundEvidence::Refused(error)),
            Err(error) => Err(error),
        }
    }

    async fn find(&self, payment: &Payment) -> Result<Option<Evidence>, Error> {
        match self.hold(payment).await {
            Ok(hold) => evidence(Some(hold), payment.update_time).map(Some),
            Err(error) if error.reason() == "RESOURCE_NOT_FOUND" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tokenize(&self, _id: &str, _card: &Card) -> Result<Token, Error> {
        Err(invalid_method("The wallet takes no cards."))
    }

    async fn kept(&self, _id: &str) -> Result<Option<Token>, Error> {
        Ok(None)
    }

    async fn forget(&self, _token: &Token) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, _payload: &str) -> Result<Callback, Error> {
        Err(Error::new(Reason::ResourceNotFound, "The wallet sends no callbacks.").with("resource", WALLET))
    }
}

/// Asks the ledger in the name of this service alone: a user's token may expire before a repeat.
async fn ours<T>(work: impl Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send) -> Result<T, Error> {
    let call = Call { caller: None, ..Call::current()? };
    // A call is large: in place, whatever asks would be several times as large.
    kit::call::run(call, Box::pin(work)).await.map(tonic::Response::into_inner).map_err(Error::from)
}

fn hold_id(payment_id: &str) -> String {
    kit::id::derive("hld", payment_id, "hold")
}

/// Whether a hold was made for this payment.
fn is_for(payment: &Payment, hold: &Hold) -> bool {
    let amount = hold.amount.as_ref().filter(|amount| amount.unit == payment.currency.code);
    let atoms = amount.and_then(|amount| amount::parse(&amount.value, payment.currency.scale).ok());
    hold.owner_id == payment.owner && hold.reference == payment.id && atoms == Some(payment.amount)
}

/// What a hold means for its payment.
fn evidence(hold: Option<Hold>, expire_time: Timestamp) -> Result<Evidence, Error> {
    let hold = hold.ok_or_else(|| Error::internal("the ledger answers without a hold"))?;
    let expire_time = hold.expire_time.as_ref().map_or(expire_time, Timestamp::from_proto);
    match hold.state() {
        State::Held | State::Posted => Ok(Evidence::Authorized { reference: hold.id, expire_time }),
        State::Voided => Ok(Evidence::Refused(ended(Reason::HoldAlreadyVoided, &hold.id))),
        State::Expired => Ok(Evidence::Refused(ended(Reason::HoldExpired, &hold.id))),
        State::Unspecified => Err(Error::internal("the ledger answers with a hold without a state")),
    }
}

fn ended(reason: Reason, hold: &str) -> Error {
    Error::new(reason, "What was set aside for this payment is available again. Pay anew.").with("hold", hold)
}

/// How much of a hold was moved, in atoms of the payment. A hold that was voided before it was made has no amounts.
pub fn posted(payment: &Payment, hold: Option<&Hold>) -> Result<i64, Error> {
    let hold = hold.ok_or_else(|| Error::internal("the ledger answers without a hold"))?;
    match &hold.posted {
        Some(posted) => atoms_of(payment, posted),
        None if hold.amount.is_none() => Ok(0),
        None => Err(Error::internal(format!("the ledger does not say how much of {} was moved", hold.id))),
    }
}

/// An amount that the ledger writes. One that cannot be read is a fault, and says nothing about what was done.
fn atoms_of(payment: &Payment, written: &Amount) -> Result<i64, Error> {
    // Of a payment that was never asked for, the decimals are not known here.
    let unknown = payment.currency.code.is_empty();
    let scale = if unknown { Currency::of(written).scale } else { payment.currency.scale };
    let unreadable = |error| Error::internal(format!("the ledger writes `{}`: {error}", written.value));
    amount::parse(&written.value, scale).map_err(unreadable)
}
