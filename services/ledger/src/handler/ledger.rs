//! `LedgerService`: the books.

use contracts::{
    ledger::v1::{self as api, ledger_event::Event, ledger_service_server::LedgerService},
    r#type::v1::Amount,
};
use kit::Call;
use storage::Key;
use tonic::{Request, Response, Status};

use super::{not_found, tell};
use crate::{
    Service,
    book::{self, Entry},
    posting::{self, Posting},
    store::{self, Line},
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
                entries,
            };
            let transaction = posting::post(unit, posting, &self.0.settings.currency, |_| Ok(())).await?;
            let event = api::TransactionPosted { transaction: Some(transaction.clone()) };
            tell(unit, &transaction.id, 1, Event::TransactionPosted(event))?;
            Ok(api::PostTransactionResponse { transaction: Some(transaction) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn get_transaction(
        &self,
        request: Request<api::GetTransactionRequest>,
    ) -> Result<Response<api::GetTransactionResponse>, Status> {
        let id = request.into_inner().id;
        let lines = self.0.db.read(async |session| store::transaction(session, &id).await).await?;
        let first = lines.first().ok_or_else(|| not_found("transaction", &id))?.transaction.clone();
        let mut entries = Vec::with_capacity(lines.len());
        for Line { owner, code, atoms, .. } in lines {
            let owner = book::whole(&owner).to_owned();
            entries.push(api::Entry { owner, amount: self.show(&code, atoms).await? });
        }
        let create_time = Some(first.create_time.to_proto());
        let (id, kind, reference) = (first.id, first.kind, first.reference);
        let transaction = Some(api::Transaction { id, kind, reference, entries, create_time });
        Ok(Response::new(api::GetTransactionResponse { transaction }))
    }

    async fn verify_ledger(
        &self,
        _request: Request<api::VerifyLedgerRequest>,
    ) -> Result<Response<api::VerifyLedgerResponse>, Status> {
        let sums = self.0.db.read(async |session| store::sums(session).await).await?;
        let holds = sums.iter().all(|sum| sum.atoms == 0 && sum.wrong == 0);
        let mut units = Vec::with_capacity(sums.len());
        for sum in sums {
            let (account_count, accounts_match) = (sum.accounts, sum.wrong == 0);
            let sum: Option<Amount> = self.show(&sum.code, sum.atoms).await?;
            units.push(api::UnitCheck { sum, account_count, accounts_match });
        }
        Ok(Response::new(api::VerifyLedgerResponse { holds, units }))
    }
}
