//! `WalletService`: what people have.

use contracts::{
    catalog::v1::{ListTickersRequest, market_data_service_client::MarketDataServiceClient},
    ledger::v1::{
        self as api, ledger_event::Event, settle_withdrawal_request::Outcome, wallet_service_server::WalletService,
        withdrawal::State as StateProto,
    },
    r#type::v1::Reason,
};
use kit::{Call, Error, units::Unit as Measure};
use storage::{Change, Key, Unit, page};
use tonic::{Request, Response, Status};

use super::{money, not_found, tell};
use crate::{
    Service,
    book::{Account, HOUSE_BANK, pair},
    hold,
    portfolio::{self, Holding},
    posting::{self, Posting},
    store::{self, Line},
    withdrawal::{Command, State, Withdrawal},
};

#[tonic::async_trait]
impl WalletService for Service {
    async fn get_wallet(
        &self,
        _request: Request<api::GetWalletRequest>,
    ) -> Result<Response<api::GetWalletResponse>, Status> {
        let mut holdings = self.holdings(Call::current()?.user()?).await?;
        // Currencies first; the sort keeps the order of units within each.
        holdings.sort_by_key(|holding| !holding.unit.fiat);
        let balances = holdings.into_iter().map(|Holding { account, unit }| {
            let show = |atoms| Some(money(&account.code, unit, atoms));
            let (total, held) = (show(account.posted), show(account.held));
            api::Balance { total, held, available: show(account.available()) }
        });
        let wallet = Some(api::Wallet { balances: balances.collect() });
        Ok(Response::new(api::GetWalletResponse { wallet }))
    }

    async fn create_deposit(
        &self,
        request: Request<api::CreateDepositRequest>,
    ) -> Result<Response<api::CreateDepositResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let owner = call.user()?;
        let key = Key::of(&call, &request.request_id, &request);
        let (code, measure, atoms) = self.parse_money(request.amount).await?;
        self.check_deposit(&code, measure, atoms)?;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let id = kit::id::new("dep", unit.now());
            let entries = pair(HOUSE_BANK, owner, &code, measure, atoms);
            let posting = Posting {
                id: kit::id::new("txn", unit.now()),
                kind: "deposit",
                reference: &id,
                hold_id: None,
                fingerprint: None,
                entries,
            };
            posting::post(unit, posting, &self.0.settings.currency, |_| Ok(())).await?;
            let amount = Some(money(&code, measure, atoms));
            let event = api::DepositCompleted { owner_id: owner.to_owned(), amount: amount.clone() };
            tell(unit, &id, 1, Event::DepositCompleted(event))?;
            let deposit = api::Deposit { id, amount, create_time: Some(unit.now().to_proto()) };
            Ok(api::CreateDepositResponse { deposit: Some(deposit) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn create_withdrawal(
        &self,
        request: Request<api::CreateWithdrawalRequest>,
    ) -> Result<Response<api::CreateWithdrawalResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let owner = call.user()?;
        let key = Key::of(&call, &request.request_id, &request);
        let (code, measure, atoms) = self.parse_money(request.amount).await?;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let withdrawal = Withdrawal {
                id: kit::id::new("wdl", unit.now()),
                owner: owner.to_owned(),
                code: code.clone(),
                atoms,
                hold_id: kit::id::new("hld", unit.now()),
                state: State::Held,
                create_time: unit.now(),
                update_time: unit.now(),
            };
            posting::create_hold(unit, withdrawal.hold(), measure).await?;
            store::insert_withdrawal(unit, &withdrawal).await?;
            let withdrawal = record(unit, "", &withdrawal, measure)?;
            Ok(api::CreateWithdrawalResponse { withdrawal: Some(withdrawal) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn get_withdrawal(
        &self,
        request: Request<api::GetWithdrawalRequest>,
    ) -> Result<Response<api::GetWithdrawalResponse>, Status> {
        let id = request.into_inner().id;
        let scope = Call::current()?.scope()?;
        let found = self.0.db.read(async |session| store::load_withdrawal(session, &scope, &id).await).await?;
        let found = found.ok_or_else(|| not_found("withdrawal", &id))?;
        let measure = self.0.units.get(&found.code).await?;
        Ok(Response::new(api::GetWithdrawalResponse { withdrawal: Some(to_proto(&found, measure)) }))
    }

    async fn list_withdrawals(
        &self,
        request: Request<api::ListWithdrawalsRequest>,
    ) -> Result<Response<api::ListWithdrawalsResponse>, Status> {
        let request = request.into_inner();
        let scope = Call::current()?.scope()?;
        let size = page::page_size(request.page_size)?;
        let list = format!("withdrawals of {}", scope.owner().unwrap_or("everyone"));
        let after = self.0.tokens.decode(&request.page_token, &list)?;
        let before = after.as_ref().and_then(|keys| keys.first()).map(String::as_str);
        // One more than the page, to learn whether there is another.
        let read = self.0.db.read(async |session| store::withdrawals(session, &scope, before, size + 1).await);
        let (found, more) = cut(read.await?, size);
        let next_page_token = match found.last() {
            Some(last) if more => self.0.tokens.encode(&list, std::slice::from_ref(&last.id)),
            _ => String::new(),
        };
        let mut withdrawals = Vec::with_capacity(found.len());
        for withdrawal in &found {
            withdrawals.push(to_proto(withdrawal, self.0.units.get(&withdrawal.code).await?));
        }
        Ok(Response::new(api::ListWithdrawalsResponse { withdrawals, next_page_token }))
    }

    async fn settle_withdrawal(
        &self,
        request: Request<api::SettleWithdrawalRequest>,
    ) -> Result<Response<api::SettleWithdrawalResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let (scope, key) = (call.scope()?, Key::of(&call, &request.request_id, &request));
        let command = match request.outcome() {
            Outcome::Paid => Command::Settle,
            Outcome::Refused => Command::Reject,
            Outcome::Unspecified => {
                let error = Error::new(Reason::InvalidField, "Say what the bank did.");
                return Err(error.violation("outcome", "is required").into());
            }
        };
        // Asked for before the unit, which waits for no other service.
        let known = self.0.db.read(async |session| store::load_withdrawal(session, &scope, &request.id).await).await?;
        let known = known.ok_or_else(|| not_found("withdrawal", &request.id))?;
        let measure = self.0.units.get(&known.code).await?;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let locked = store::lock_withdrawal(unit, &scope, &request.id).await?;
            let withdrawal = locked.ok_or_else(|| not_found("withdrawal", &request.id))?;
            let withdrawal = self.end(unit, withdrawal, command, measure).await?;
            Ok(api::SettleWithdrawalResponse { withdrawal: Some(withdrawal) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn list_wallet_entries(
        &self,
        request: Request<api::ListWalletEntriesRequest>,
    ) -> Result<Response<api::ListWalletEntriesResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let owner = call.user()?;
        let size = page::page_size(request.page_size)?;
        let list = format!("entries of {owner} in {}", request.unit);
        let before = match self.0.tokens.decode(&request.page_token, &list)?.as_deref() {
            Some([sequence, ..]) => sequence.parse().map_err(Error::internal)?,
            _ => i64::MAX,
        };
        let read = async |session: &mut _| store::lines(session, owner, &request.unit, before, size + 1).await;
        let (found, more) = cut(self.0.db.read(read).await?, size);
        let next_page_token = match found.last() {
            Some(last) if more => self.0.tokens.encode(&list, &[last.sequence.to_string()]),
            _ => String::new(),
        };
        let mut entries = Vec::with_capacity(found.len());
        for line in found {
            let measure = self.0.units.get(&line.code).await?;
            entries.push(line_to_proto(line, measure));
        }
        Ok(Response::new(api::ListWalletEntriesResponse { entries, next_page_token }))
    }

    async fn get_portfolio(
        &self,
        _request: Request<api::GetPortfolioRequest>,
    ) -> Result<Response<api::GetPortfolioResponse>, Status> {
        let holdings = self.holdings(Call::current()?.user()?).await?;
        let units: Vec<String> = holdings
            .iter()
            .filter(|holding| !holding.unit.fiat && holding.account.posted != 0)
            .map(|holding| holding.account.code.clone())
            .collect();
        let mut prices = std::collections::HashMap::new();
        // As many as one call takes.
        for units in units.chunks(200) {
            let request = ListTickersRequest { units: units.to_vec() };
            let mut catalog = MarketDataServiceClient::new(self.0.catalog.clone());
            let reply = catalog.list_tickers(request).await.map_err(Error::from)?.into_inner();
            let priced = |ticker: contracts::catalog::v1::Ticker| Some((ticker.unit, ticker.last?));
            prices.extend(reply.tickers.into_iter().filter_map(priced));
        }
        let currency = &self.0.settings.currency;
        let scale = self.0.units.get(currency).await?.scale;
        let portfolio = Some(portfolio::value(holdings, &prices, currency, scale)?);
        Ok(Response::new(api::GetPortfolioResponse { portfolio }))
    }
}

impl Service {
    /// What an owner has: the house's currency always, and everything else there is something of.
    async fn holdings(&self, owner: &str) -> Result<Vec<Holding>, Error> {
        let currency = &self.0.settings.currency;
        let mut accounts = self.0.db.read(async |session| store::accounts_of(session, owner).await).await?;
        accounts.retain(|account| account.posted != 0 || account.code == *currency);
        if !accounts.iter().any(|account| account.code == *currency) {
            accounts.push(Account::empty(owner, currency));
        }
        let mut holdings = Vec::with_capacity(accounts.len());
        for account in accounts {
            let unit = self.0.units.get(&account.code).await?;
            holdings.push(Holding { account, unit });
        }
        Ok(holdings)
    }

    fn check_deposit(&self, code: &str, measure: Measure, atoms: i64) -> Result<(), Error> {
        let max = i128::from(self.0.settings.deposit_max) * 10_i128.pow(measure.scale.into());
        if i128::from(atoms) <= max {
            return Ok(());
        }
        let max = self.0.settings.deposit_max.to_string();
        if self.0.settings.deposit_max == 0 {
            return Err(Error::new(Reason::LimitExceeded, "This platform takes no deposits.").with("max", max));
        }
        let message = format!("A deposit is {max} {code} at the most. Make several.");
        let refusal = Error::new(Reason::AmountOutOfRange, message).with("unit", code).with("max", max);
        Err(refusal.at_amount("amount"))
    }

    /// Ends a withdrawal, and moves its money if the bank has paid.
    async fn end(
        &self,
        unit: &mut Unit,
        mut withdrawal: Withdrawal,
        command: Command,
        measure: Measure,
    ) -> Result<api::Withdrawal, Error> {
        let from = withdrawal.state;
        let (state, of_hold) = from.decide(command)?;
        let hold = withdrawal.hold();
        (withdrawal.state, withdrawal.update_time) = (state, unit.now());
        match of_hold {
            hold::Command::Post { .. } => {
                let step = hold.decide(of_hold, unit.now())?;
                let posting = Posting {
                    id: kit::id::new("txn", unit.now()),
                    kind: "withdrawal",
                    reference: &withdrawal.id,
                    hold_id: Some(&hold.id),
                    fingerprint: None,
                    entries: pair(&hold.owner, HOUSE_BANK, &hold.code, measure, step.moved),
                };
                posting::post_hold(unit, posting, &step, &self.0.settings.currency).await?;
            }
            hold::Command::Void | hold::Command::Expire => {
                posting::end_hold(unit, &hold, of_hold).await?;
            }
        }
        store::end_withdrawal(unit, &withdrawal).await?;
        record(unit, from.name(), &withdrawal, measure)
    }
}

/// Writes the history and the fact of a withdrawal's last change.
fn record(unit: &mut Unit, from: &str, withdrawal: &Withdrawal, measure: Measure) -> Result<api::Withdrawal, Error> {
    let Withdrawal { id, owner, code, atoms, state, .. } = withdrawal;
    let sequence = state.sequence();
    unit.history(&Change { aggregate: id, sequence, from, to: state.name(), detail: Vec::new() });
    let (owner_id, amount) = (owner.clone(), Some(money(code, measure, *atoms)));
    let event = match state {
        State::Held => Event::WithdrawalRequested(api::WithdrawalRequested { owner_id, amount }),
        State::Settled => Event::WithdrawalCompleted(api::WithdrawalCompleted { owner_id, amount }),
        State::Rejected => Event::WithdrawalRejected(api::WithdrawalRejected { owner_id, amount }),
    };
    tell(unit, id, sequence, event)?;
    Ok(to_proto(withdrawal, measure))
}

/// The first `size` rows, and whether there were more.
fn cut<T>(mut rows: Vec<T>, size: i64) -> (Vec<T>, bool) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    (rows, more)
}

fn to_proto(withdrawal: &Withdrawal, measure: Measure) -> api::Withdrawal {
    let state = match withdrawal.state {
        State::Held => StateProto::Held,
        State::Settled => StateProto::Settled,
        State::Rejected => StateProto::Rejected,
    };
    api::Withdrawal {
        id: withdrawal.id.clone(),
        amount: Some(money(&withdrawal.code, measure, withdrawal.atoms)),
        state: state.into(),
        create_time: Some(withdrawal.create_time.to_proto()),
        update_time: Some(withdrawal.update_time.to_proto()),
    }
}

fn line_to_proto(line: Line, measure: Measure) -> api::WalletEntry {
    api::WalletEntry {
        transaction_id: line.transaction.id,
        sequence: line.sequence,
        amount: Some(money(&line.code, measure, line.atoms)),
        balance: Some(money(&line.code, measure, line.balance)),
        kind: line.transaction.kind,
        reference: line.transaction.reference,
        create_time: Some(line.transaction.create_time.to_proto()),
    }
}
