//! One transaction, or one move of a hold, in one unit: take the owners, load their accounts, decide, save.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{ledger::v1 as api, r#type::v1::Reason};
use kit::{Error, Scope, amount, units::Unit as Measure};
use storage::Unit;

use crate::{
    book::{self, Book, Entry},
    hold::{Command, Hold, Step},
    hold_store,
    store::{self, Header, Line},
};

/// What is to be posted.
pub struct Posting<'a> {
    /// The id of the transaction, `txn_…`.
    pub id: String,
    /// What it is for: `deposit`, `withdrawal`, `trade`, `refund`, `purchase`.
    pub kind: &'a str,
    /// The resource it is for.
    pub reference: &'a str,
    /// The hold that it moves.
    pub hold_id: Option<&'a str>,
    /// The SHA-256 of the request that gave it its id: a repeat has the same. None where the id is new.
    pub fingerprint: Option<[u8; 32]>,
    /// What each account gets or gives.
    pub entries: Vec<Entry>,
}

/// What became of a posting.
pub enum Posted {
    /// It was written.
    Now(api::Transaction),
    /// It was written before, and nothing more has happened.
    Before(api::Transaction),
}

impl Posted {
    /// The transaction, whenever it was written.
    pub fn transaction(self) -> api::Transaction {
        match self {
            Posted::Now(transaction) | Posted::Before(transaction) => transaction,
        }
    }
}

/// Posts a transaction, unless there is one with its id. `currency` is the unit in which cost and profit are counted; `first` changes the accounts before
/// the entries do, such as by letting go of a hold.
///
/// # Errors
/// What [`Book::post`] and `first` refuse; `IDEMPOTENCY_KEY_REUSED` if another request has used the id.
pub async fn post(
    unit: &mut Unit,
    posting: Posting<'_>,
    currency: &str,
    first: impl FnOnce(&mut Book) -> Result<(), Error>,
) -> Result<Posted, Error> {
    let Posting { id, kind, reference, hold_id, fingerprint, entries } = posting;
    let entries = book::spread(entries);
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &entries {
        *counts.entry(&entry.owner).or_default() += 1;
    }
    let create_time = unit.now();
    let header = Header { id, kind: kind.to_owned(), reference: reference.to_owned(), create_time };
    // Before the owners are taken: others may wait for them from then on.
    if !store::insert_transaction(unit, &header, hold_id, fingerprint).await? {
        let known = before(unit, &header.id, fingerprint, |code| {
            entries.iter().find(|entry| entry.code == code).map(|entry| entry.unit)
        });
        return known.await?.map(Posted::Before).ok_or_else(|| Error::internal(format!("{} is gone", header.id)));
    }
    let last = store::take(unit, &counts).await?;
    let keys: BTreeSet<_> = entries.iter().map(|entry| (entry.owner.as_str(), entry.code.as_str())).collect();
    let mut book = store::load_book(unit, &Vec::from_iter(keys)).await?;
    first(&mut book)?;
    let balances = book.post(&entries, currency)?;
    store::save_book(unit, &book).await?;
    store::insert_entries(unit, &header.id, &entries, &balances, last).await?;
    Ok(Posted::Now(api::Transaction {
        id: header.id,
        kind: header.kind,
        reference: header.reference,
        entries: entries.iter().map(|entry| to_proto(&entry.owner, &entry.code, entry.unit, entry.atoms)).collect(),
        create_time: Some(create_time.to_proto()),
    }))
}

/// The transaction that a request with this fingerprint has written under this id, if it has. `measure` knows the units
/// of the request.
///
/// # Errors
/// `IDEMPOTENCY_KEY_REUSED` if another request has used the id.
pub async fn before(
    unit: &mut Unit,
    id: &str,
    fingerprint: Option<[u8; 32]>,
    measure: impl Fn(&str) -> Option<Measure>,
) -> Result<Option<api::Transaction>, Error> {
    let Some(stored) = store::fingerprint(unit, id).await? else { return Ok(None) };
    if stored.is_none() || stored.as_deref() != fingerprint.as_ref().map(<[u8; 32]>::as_slice) {
        let message = "Another request has posted a transaction with this id. Derive the id from what it is for.";
        return Err(Error::new(Reason::IdempotencyKeyReused, message).with("transaction", id));
    }
    shown(&store::transaction(unit, id).await?, measure).map(Some)
}

/// A transaction as others see it, from its lines.
///
/// # Errors
/// `INTERNAL` if there is no line, or one of a unit that `measure` does not know.
pub fn shown(lines: &[Line], measure: impl Fn(&str) -> Option<Measure>) -> Result<api::Transaction, Error> {
    let Header { id, kind, reference, create_time } =
        lines.first().ok_or_else(|| Error::internal("a transaction without entries"))?.transaction.clone();
    let entry = |line: &Line| {
        let unit = measure(&line.code).ok_or_else(|| Error::internal(format!("{} is not known here", line.code)))?;
        Ok(to_proto(&line.owner, &line.code, unit, line.atoms))
    };
    let entries = lines.iter().map(entry).collect::<Result<_, Error>>()?;
    Ok(api::Transaction { id, kind, reference, entries, create_time: Some(create_time.to_proto()) })
}

/// Makes a hold, unless there is one with its id, and gives it as it stands.
///
/// # Errors
/// What [`Book::hold`] refuses, `HOLD_EXPIRED` if its time is over, and what [`Hold::answers`] does.
pub async fn create_hold(unit: &mut Unit, wanted: Hold, measure: Measure) -> Result<Hold, Error> {
    // Before the owner is taken: others may wait for the account from then on.
    if hold_store::insert(unit, &wanted).await? {
        if wanted.is_over(unit.now()) {
            let message = "The time of the hold is over before it begins. Send a later expire_time.";
            return Err(Error::new(Reason::HoldExpired, message).with("hold", &wanted.id));
        }
        hold(unit, &wanted.owner, &wanted.code, measure, wanted.atoms).await?;
        return Ok(wanted);
    }
    let known = hold_store::load(unit, &Scope::All, &wanted.id).await?;
    let known = known.ok_or_else(|| Error::internal(format!("{} is gone", wanted.id)))?;
    known.answers(&wanted)?;
    Ok(known)
}

/// Posts the transaction of a step in which a hold moves. Where it was posted before, nothing more happens.
///
/// # Errors
/// What [`post`] and [`Book::release`] refuse.
pub async fn post_hold(unit: &mut Unit, posting: Posting<'_>, step: &Step, currency: &str) -> Result<Posted, Error> {
    let Step { hold, moved, freed } = step;
    let release = |book: &mut Book| book.release(&hold.owner, &hold.code, moved + freed);
    let posted = post(unit, posting, currency, release).await?;
    if let Posted::Now(_) = posted {
        hold_store::save(unit, hold).await?;
    }
    Ok(posted)
}

/// Ends a hold, and makes what is left of it available again.
///
/// # Errors
/// What [`Hold::decide`] and [`Book::release`] refuse.
pub async fn end_hold(unit: &mut Unit, hold: &Hold, command: Command) -> Result<Hold, Error> {
    let step = hold.decide(command, unit.now())?;
    if step.hold != *hold {
        release(unit, &hold.owner, &hold.code, step.freed).await?;
        hold_store::save(unit, &step.hold).await?;
    }
    Ok(step.hold)
}

/// Sets money of an account aside.
///
/// # Errors
/// What [`Book::hold`] refuses.
async fn hold(unit: &mut Unit, owner: &str, code: &str, measure: Measure, atoms: i64) -> Result<(), Error> {
    store::take(unit, &BTreeMap::from([(owner, 0)])).await?;
    let mut book = store::load_book(unit, &[(owner, code)]).await?;
    book.hold(owner, code, measure, atoms)?;
    store::save_book(unit, &book).await
}

/// Makes money that was set aside available again.
///
/// # Errors
/// What [`Book::release`] refuses.
async fn release(unit: &mut Unit, owner: &str, code: &str, atoms: i64) -> Result<(), Error> {
    store::take(unit, &BTreeMap::from([(owner, 0)])).await?;
    let mut book = store::load_book(unit, &[(owner, code)]).await?;
    book.release(owner, code, atoms)?;
    store::save_book(unit, &book).await
}

fn to_proto(owner: &str, code: &str, unit: Measure, atoms: i64) -> api::Entry {
    let amount = contracts::r#type::v1::Amount { value: amount::format(atoms, unit.scale), unit: code.to_owned() };
    api::Entry { owner: book::whole(owner).to_owned(), amount: Some(amount) }
}
