//! `LedgerService`: the books.

use std::collections::HashMap;

use contracts::{
    ledger::v1::{self as api, hold::State as StateProto, ledger_event::Event, ledger_service_server::LedgerService},
    r#type::v1::{Amount, Reason},
};
use kit::{Call, Error, Scope, Timestamp, units::Unit as Measure};
use prost::Message;
use sha2::{Digest, Sha256};
use storage::{Key, Session, Unit, page};
use tonic::{Request, Response, Status};

use super::{money, not_found, tell};
use crate::{
    Service,
    book::{Entry, pair},
    hold::{Command, Hold, State},
    hold_store,
    posting::{self, Posted, Posting},
    store, verify,
};

#[tonic::async_trait]
impl LedgerService for Service {
    async fn post_transaction(
        &self,
        request: Request<api::PostTransactionRequest>,
    ) -> Result<Response<api::PostTransactionResponse>, Status> {
        let request = request.into_inner();
        // The key belongs to the workload, whether or not a user's token came along: a repeat after a crash has none.
        let call = Call { caller: None, ..Call::current()? };
        let key = Key::of(&call, &request.request_id, &request);
        let fingerprint = Some(fingerprint(&request));
        let mut entries = Vec::with_capacity(request.entries.len());
        for entry in request.entries {
            let (code, unit, atoms) = self.parse(entry.amount).await?;
            entries.push(Entry { owner: entry.owner, code, unit, atoms });
        }
        let reply = self.0.db.once(key, async |unit| {
            let posting = Posting {
                // Derived, so that one request can never be written down twice.
                id: kit::id::derive("txn", &request.request_id, "post"),
                kind: &request.kind,
                reference: &request.reference,
                hold_id: None,
                // For a repeat that comes when the key was swept.
                fingerprint,
                entries,
            };
            let posted = posting::post(unit, posting, &self.0.settings.currency, |_| Ok(())).await?;
            if let Posted::Now(transaction) = &posted {
                let event = api::TransactionPosted { transaction: Some(transaction.clone()) };
                tell(unit, &transaction.id, 1, Event::TransactionPosted(event))?;
            }
            Ok(api::PostTransactionResponse { transaction: Some(posted.transaction()) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn get_transaction(
        &self,
        request: Request<api::GetTransactionRequest>,
    ) -> Result<Response<api::GetTransactionResponse>, Status> {
        let id = request.into_inner().id;
        let lines = self.0.db.read(async |session| store::transaction(session, &id).await).await?;
        if lines.is_empty() {
            return Err(not_found("transaction", &id).into());
        }
        let mut units = HashMap::new();
        for line in &lines {
            units.insert(line.code.as_str(), self.0.units.get(&line.code).await?);
        }
        let transaction = posting::shown(&lines, |code| units.get(code).copied())?;
        Ok(Response::new(api::GetTransactionResponse { transaction: Some(transaction) }))
    }

    async fn create_hold(
        &self,
        request: Request<api::CreateHoldRequest>,
    ) -> Result<Response<api::CreateHoldResponse>, Status> {
        let request = request.into_inner();
        let (code, measure, atoms) = self.parse_positive(request.amount).await?;
        let reply = self.0.db.write(async |unit: &mut Unit| {
            let wanted = Hold {
                id: request.id,
                owner: request.owner_id,
                code,
                atoms,
                posted: 0,
                state: State::Held,
                reference: request.reference,
                expire_time: request.expire_time.as_ref().map(Timestamp::from_proto),
                create_time: unit.now(),
                update_time: unit.now(),
            };
            if wanted.belongs_to_withdrawal() {
                let error = Error::new(Reason::InvalidField, "A withdrawal makes its own hold.");
                return Err(error.violation("reference", "names a withdrawal"));
            }
            posting::create_hold(unit, wanted, measure).await
        });
        let hold = Some(to_proto(&reply.await?, Some(measure)));
        Ok(Response::new(api::CreateHoldResponse { hold }))
    }

    async fn get_hold(&self, request: Request<api::GetHoldRequest>) -> Result<Response<api::GetHoldResponse>, Status> {
        let hold = self.load_hold(&request.into_inner().id).await?;
        Ok(Response::new(api::GetHoldResponse { hold: Some(self.show_hold(&hold).await?) }))
    }

    async fn list_holds(
        &self,
        request: Request<api::ListHoldsRequest>,
    ) -> Result<Response<api::ListHoldsResponse>, Status> {
        let request = request.into_inner();
        let scope = Call::current()?.scope()?;
        let size = page::page_size(request.page_size)?;
        let state = match request.state() {
            StateProto::Unspecified => None,
            StateProto::Held => Some(State::Held),
            StateProto::Posted => Some(State::Posted),
            StateProto::Voided => Some(State::Voided),
            StateProto::Expired => Some(State::Expired),
        };
        let list = format!("holds of {} in {}", scope.owner().unwrap_or("everyone"), request.state);
        let (time, id) = self.0.tokens.after(&request.page_token, &list)?;
        // One more than the page, to learn whether there is another.
        let read = async |session: &mut Session| hold_store::list(session, &scope, state, (time, &id), size + 1).await;
        let found = self.0.db.read(read).await?;
        let (found, next_page_token) = self.0.tokens.cut(found, size, &list, |hold| (hold.create_time, &hold.id));
        let mut holds = Vec::with_capacity(found.len());
        for hold in &found {
            holds.push(self.show_hold(hold).await?);
        }
        Ok(Response::new(api::ListHoldsResponse { holds, next_page_token }))
    }

    async fn post_hold(
        &self,
        request: Request<api::PostHoldRequest>,
    ) -> Result<Response<api::PostHoldResponse>, Status> {
        let request = request.into_inner();
        let fingerprint = Some(fingerprint(&request));
        // Asked for before the unit, which waits for no other service.
        let (code, measure, atoms) = match request.amount.clone() {
            Some(amount) => {
                let (code, measure, atoms) = self.parse_positive(Some(amount)).await?;
                (code, measure, Some(atoms))
            }
            None => {
                let hold = self.load_hold(&request.id).await?;
                let measure = if hold.is_tombstone() { None } else { Some(self.0.units.get(&hold.code).await?) };
                (hold.code, measure.unwrap_or(Measure { scale: 0, fiat: true }), None)
            }
        };
        let command = Command::Post { atoms, last: request.r#final };
        let reply = self.0.db.write(async |unit: &mut Unit| {
            let hold = lock_hold(unit, &request.id).await?;
            if hold.code != code && !hold.is_tombstone() {
                let message = format!("This hold is of {}. Ask for an amount of it.", hold.code);
                return Err(Error::new(Reason::UnitMismatch, message).with("unit", code));
            }
            let step = match hold.decide(command, unit.now()) {
                Ok(step) => step,
                // The part that was asked for may be the one with which the hold ended.
                Err(refused) => {
                    let known = posting::before(unit, &request.transaction_id, fingerprint, |_| Some(measure));
                    return known.await?.map(|transaction| (hold, transaction)).ok_or(refused);
                }
            };
            let posting = Posting {
                id: request.transaction_id,
                kind: &request.kind,
                reference: &hold.reference,
                hold_id: Some(&hold.id),
                fingerprint,
                entries: pair(&hold.owner, &request.to_account, &code, measure, step.moved),
            };
            match posting::post_hold(unit, posting, &step, &self.0.settings.currency).await? {
                Posted::Before(transaction) => Ok((hold, transaction)),
                Posted::Now(transaction) => {
                    let event = api::TransactionPosted { transaction: Some(transaction.clone()) };
                    tell(unit, &transaction.id, 1, Event::TransactionPosted(event))?;
                    Ok((step.hold, transaction))
                }
            }
        });
        let (hold, transaction) = reply.await?;
        let hold = Some(to_proto(&hold, Some(measure)));
        Ok(Response::new(api::PostHoldResponse { hold, transaction: Some(transaction) }))
    }

    async fn void_hold(
        &self,
        request: Request<api::VoidHoldRequest>,
    ) -> Result<Response<api::VoidHoldResponse>, Status> {
        let id = request.into_inner().id;
        let reply = self.0.db.write(async |unit: &mut Unit| {
            // First, so that a hold that is being made at this moment is either seen or never made.
            let tombstone = Hold::tombstone(&id, unit.now());
            if hold_store::insert(unit, &tombstone).await? {
                return Ok(tombstone);
            }
            let hold = lock_hold(unit, &id).await?;
            posting::end_hold(unit, &hold, Command::Void).await
        });
        let hold = self.show_hold(&reply.await?).await?;
        Ok(Response::new(api::VoidHoldResponse { hold: Some(hold) }))
    }

    async fn verify_ledger(
        &self,
        request: Request<api::VerifyLedgerRequest>,
    ) -> Result<Response<api::VerifyLedgerResponse>, Status> {
        let found = verify::verify(self, &request.into_inner().page_token).await?;
        let verify::Findings { holds, sums, next_page_token } = found;
        let mut units = Vec::with_capacity(sums.len());
        for (code, sum) in sums {
            let verify::Sum { atoms, unbalanced: unbalanced_count, accounts: account_count, wrong } = sum;
            let sum: Option<Amount> = self.show(&code, atoms).await?;
            units.push(api::UnitCheck { sum, account_count, accounts_match: wrong == 0, unbalanced_count });
        }
        Ok(Response::new(api::VerifyLedgerResponse { holds, units, next_page_token }))
    }
}

impl Service {
    async fn load_hold(&self, id: &str) -> Result<Hold, Error> {
        let scope = Call::current()?.scope()?;
        let found = self.0.db.read(async |session| hold_store::load(session, &scope, id).await).await?;
        found.ok_or_else(|| not_found("hold", id))
    }

    async fn show_hold(&self, hold: &Hold) -> Result<api::Hold, Error> {
        let measure = if hold.is_tombstone() { None } else { Some(self.0.units.get(&hold.code).await?) };
        Ok(to_proto(hold, measure))
    }
}

/// A hold that is to change on behalf of another service, locked until the unit ends.
async fn lock_hold(unit: &mut Unit, id: &str) -> Result<Hold, Error> {
    let hold = hold_store::lock(unit, &Scope::All, id).await?.ok_or_else(|| not_found("hold", id))?;
    if hold.belongs_to_withdrawal() {
        let error = Error::new(Reason::InvalidStateTransition, "This hold ends with its withdrawal.");
        return Err(error.with("withdrawal", &hold.reference));
    }
    Ok(hold)
}

/// The SHA-256 of a request, by which a repeat is known.
fn fingerprint(request: &impl Message) -> [u8; 32] {
    Sha256::digest(request.encode_to_vec()).into()
}

fn to_proto(hold: &Hold, measure: Option<Measure>) -> api::Hold {
    let state = match hold.state {
        State::Held => StateProto::Held,
        State::Posted => StateProto::Posted,
        State::Voided => StateProto::Voided,
        State::Expired => StateProto::Expired,
    };
    let show = |atoms| measure.map(|measure| money(&hold.code, measure, atoms));
    api::Hold {
        id: hold.id.clone(),
        owner_id: hold.owner.clone(),
        amount: show(hold.atoms),
        posted: show(hold.posted),
        state: state.into(),
        reference: hold.reference.clone(),
        expire_time: hold.expire_time.map(Timestamp::to_proto),
        create_time: Some(hold.create_time.to_proto()),
        update_time: Some(hold.update_time.to_proto()),
    }
}
