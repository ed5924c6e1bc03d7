//! A ledger in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use contracts::{
    ledger::v1::{
        self as ledger, Entry, Hold, Transaction,
        hold::State,
        ledger_service_server::{LedgerService, LedgerServiceServer},
    },
    r#type::v1::{Amount, Reason},
};
use kit::{Error, amount, link::Link};
use tonic::{Request, Response, Status, service::Routes};

/// How the ledger behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked for and says so.
    #[default]
    Well,
    /// It does it, but its answer is lost.
    LosingAnswers,
    /// It cannot be reached.
    Away,
}

/// Holds and transactions of wallets that all begin with the same money.
#[derive(Clone, Default)]
pub struct FakeLedger {
    state: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    mood: Mood,
    /// What everyone has, in cents; nothing set means plenty.
    funds: Option<i64>,
    holds: HashMap<String, Set>,
    transactions: HashMap<String, Transaction>,
    refunds: HashMap<String, Transaction>,
    calls: usize,
}

struct Set {
    /// What was asked for: a repeat has to ask for the same.
    asked: ledger::CreateHoldRequest,
    owner: String,
    unit: String,
    atoms: i64,
    posted: i64,
    state: State,
}

impl FakeLedger {
    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Gives everyone so many cents.
    pub fn fund(&self, cents: i64) {
        self.state.lock().unwrap().funds = Some(cents);
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// The hold of a payment: state, how many cents were set aside, how many of them were moved.
    pub fn hold(&self, payment_id: &str) -> Option<(State, i64, i64)> {
        let id = kit::id::derive("hld", payment_id, "hold");
        let books = self.state.lock().unwrap();
        books.holds.get(&id).map(|hold| (hold.state, hold.atoms, hold.posted))
    }

    /// Everything that was given back, in cents.
    pub fn refunded(&self) -> i64 {
        let books = self.state.lock().unwrap();
        let to_owner = |entry: &&Entry| entry.owner.starts_with("usr_");
        let entries = books.refunds.values().flat_map(|refund| refund.entries.iter().filter(to_owner));
        entries.map(|entry| amount::parse(&entry.amount.as_ref().unwrap().value, 2).unwrap()).sum()
    }

    pub fn link(&self) -> Link {
        Link::new(Routes::new(LedgerServiceServer::new(self.clone())).prepare())
    }

    /// Does `work` as the mood allows.
    fn answer<T>(&self, work: impl FnOnce(&mut Books) -> Result<T, Error>) -> Result<Response<T>, Status> {
        let mut books = self.state.lock().unwrap();
        books.calls += 1;
        if books.mood == Mood::Away {
            return Err(Status::unavailable("connection refused"));
        }
        let done = work(&mut books)?;
        match books.mood {
            Mood::LosingAnswers => Err(Status::unavailable("connection reset")),
            _ => Ok(Response::new(done)),
        }
    }
}

fn cents(amount: &Option<Amount>) -> i64 {
    amount::parse(&amount.as_ref().unwrap().value, 2).unwrap()
}

fn money(atoms: i64, unit: &str) -> Option<Amount> {
    Some(Amount { value: amount::format(atoms, 2), unit: unit.to_owned() })
}

fn show(id: &str, hold: &Set) -> Option<Hold> {
    let (amount, posted) = (money(hold.atoms, &hold.unit), money(hold.posted, &hold.unit));
    let (owner_id, reference, expire_time) = (hold.owner.clone(), hold.asked.reference.clone(), hold.asked.expire_time);
    let state = hold.state.into();
    Some(Hold { id: id.to_owned(), owner_id, amount, posted, state, reference, expire_time, ..Default::default() })
}

fn refuse(reason: Reason) -> Error {
    Error::new(reason, "The ledger refuses.").with("unit", "USD")
}

#[tonic::async_trait]
impl LedgerService for FakeLedger {
    async fn post_transaction(
        &self,
        request: Request<ledger::PostTransactionRequest>,
    ) -> Result<Response<ledger::PostTransactionResponse>, Status> {
        let ledger::PostTransactionRequest { request_id, kind, reference, entries } = request.into_inner();
        self.answer(|books| {
            let id = kit::id::derive("txn", &request_id, "post");
            let transaction = Transaction { id, kind, reference, entries, create_time: None };
            let transaction = Some(books.refunds.entry(request_id).or_insert(transaction).clone());
            Ok(ledger::PostTransactionResponse { transaction })
        })
    }

    async fn get_transaction(
        &self,
        _: Request<ledger::GetTransactionRequest>,
    ) -> Result<Response<ledger::GetTransactionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_hold(
        &self,
        request: Request<ledger::CreateHoldRequest>,
    ) -> Result<Response<ledger::CreateHoldResponse>, Status> {
        let request = request.into_inner();
        self.answer(|books| {
            let atoms = cents(&request.amount);
            match books.holds.get(&request.id) {
                Some(hold) if hold.owner.is_empty() => return Err(refuse(Reason::HoldAlreadyVoided)),
                Some(hold) if hold.asked != request => return Err(refuse(Reason::IdempotencyKeyReused)),
                Some(hold) => return Ok(ledger::CreateHoldResponse { hold: show(&request.id, hold) }),
                None => {}
            }
            if let Some(funds) = &mut books.funds {
                if *funds < atoms {
                    return Err(refuse(Reason::InsufficientFunds));
                }
                *funds -= atoms;
            }
            let (owner, unit) = (request.owner_id.clone(), request.amount.clone().unwrap().unit);
            let hold = Set { asked: request.clone(), owner, unit, atoms, posted: 0, state: State::Held };
            let shown = show(&request.id, &hold);
            books.holds.insert(request.id, hold);
            Ok(ledger::CreateHoldResponse { hold: shown })
        })
    }

    async fn get_hold(
        &self,
        request: Request<ledger::GetHoldRequest>,
    ) -> Result<Response<ledger::GetHoldResponse>, Status> {
        let id = request.into_inner().id;
        self.answer(|books| match books.holds.get(&id) {
            Some(hold) => Ok(ledger::GetHoldResponse { hold: show(&id, hold) }),
            None => Err(refuse(Reason::ResourceNotFound)),
        })
    }

    async fn list_holds(
        &self,
        _: Request<ledger::ListHoldsRequest>,
    ) -> Result<Response<ledger::ListHoldsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn post_hold(
        &self,
        request: Request<ledger::PostHoldRequest>,
    ) -> Result<Response<ledger::PostHoldResponse>, Status> {
        let request = request.into_inner();
        self.answer(|books| {
            let hold = books.holds.get_mut(&request.id).ok_or_else(|| refuse(Reason::ResourceNotFound))?;
            if let Some(transaction) = books.transactions.get(&request.transaction_id) {
                let transaction = Some(transaction.clone());
                return Ok(ledger::PostHoldResponse { hold: show(&request.id, hold), transaction });
            }
            match hold.state {
                State::Voided => return Err(refuse(Reason::HoldAlreadyVoided)),
                State::Posted => return Err(refuse(Reason::HoldAlreadyPosted)),
                _ => {}
            }
            let atoms = request.amount.as_ref().map_or(hold.atoms - hold.posted, |amount| cents(&Some(amount.clone())));
            if hold.posted + atoms > hold.atoms {
                return Err(refuse(Reason::ExceedsHold));
            }
            hold.posted += atoms;
            if request.r#final || hold.posted == hold.atoms {
                hold.state = State::Posted;
            }
            let entry = |owner: &str, atoms| Entry { owner: owner.to_owned(), amount: money(atoms, &hold.unit) };
            let entries = vec![entry(&hold.owner, -atoms), entry(&request.to_account, atoms)];
            let (id, kind) = (request.transaction_id.clone(), request.kind);
            let transaction = Transaction { id, kind, reference: request.id.clone(), entries, create_time: None };
            let reply =
                ledger::PostHoldResponse { hold: show(&request.id, hold), transaction: Some(transaction.clone()) };
            books.transactions.insert(request.transaction_id, transaction);
            Ok(reply)
        })
    }

    async fn void_hold(
        &self,
        request: Request<ledger::VoidHoldRequest>,
    ) -> Result<Response<ledger::VoidHoldResponse>, Status> {
        let id = request.into_inner().id;
        self.answer(|books| {
            let never = || Set {
                asked: ledger::CreateHoldRequest::default(),
                owner: String::new(),
                unit: "USD".to_owned(),
                atoms: 0,
                posted: 0,
                state: State::Voided,
            };
            let hold = books.holds.entry(id.clone()).or_insert_with(never);
            if hold.state == State::Posted {
                return Err(refuse(Reason::HoldAlreadyPosted));
            }
            if hold.state == State::Held {
                hold.state = State::Voided;
                if let Some(funds) = &mut books.funds {
                    *funds += hold.atoms - hold.posted;
                }
            }
            Ok(ledger::VoidHoldResponse { hold: show(&id, hold) })
        })
    }

    async fn verify_ledger(
        &self,
        _: Request<ledger::VerifyLedgerRequest>,
    ) -> Result<Response<ledger::VerifyLedgerResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
