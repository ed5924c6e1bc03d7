//! One transaction in one unit: take the owners, load their accounts, decide, save.

use std::collections::{BTreeMap, BTreeSet};

use contracts::ledger::v1 as api;
use kit::{Error, amount, units::Unit as Measure};
use storage::Unit;

use crate::{
    book::{self, Book, Entry},
    store::{self, Header},
};

/// What is to be posted.
pub struct Posting<'a> {
    /// The id of the transaction, `txn_…`.
    pub id: String,
    /// What it is for: `deposit`, `withdrawal`, `trade`.
    pub kind: &'a str,
    /// The resource it is for.
    pub reference: &'a str,
    /// What each account gets or gives.
    pub entries: Vec<Entry>,
}

/// Posts a transaction. `currency` is the unit in which cost and profit are counted; `first` changes the accounts before
/// the entries do, such as by letting go of a hold.
///
/// # Errors
/// What [`Book::post`] and `first` refuse.
pub async fn post(
    unit: &mut Unit,
    posting: Posting<'_>,
    currency: &str,
    first: impl FnOnce(&mut Book) -> Result<(), Error>,
) -> Result<api::Transaction, Error> {
    let Posting { id, kind, reference, entries } = posting;
    let entries = book::spread(entries);
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &entries {
        *counts.entry(&entry.owner).or_default() += 1;
    }
    let create_time = unit.now();
    let header = Header { id, kind: kind.to_owned(), reference: reference.to_owned(), create_time };
    // Before the owners are taken: others may wait for them from then on.
    store::insert_transaction(unit, &header).await?;
    let last = store::take(unit, &counts).await?;
    let keys: BTreeSet<_> = entries.iter().map(|entry| (entry.owner.as_str(), entry.code.as_str())).collect();
    let mut book = store::load_book(unit, &Vec::from_iter(keys)).await?;
    first(&mut book)?;
    let balances = book.post(&entries, currency)?;
    store::save_book(unit, &book).await?;
    store::insert_entries(unit, &header.id, &entries, &balances, last).await?;
    Ok(api::Transaction {
        id: header.id,
        kind: header.kind,
        reference: header.reference,
        entries: entries.iter().map(to_proto).collect(),
        create_time: Some(create_time.to_proto()),
    })
}

/// Sets money of an account aside.
///
/// # Errors
/// What [`Book::hold`] refuses.
pub async fn hold(unit: &mut Unit, owner: &str, code: &str, measure: Measure, atoms: i64) -> Result<(), Error> {
    store::take(unit, &BTreeMap::from([(owner, 0)])).await?;
    let mut book = store::load_book(unit, &[(owner, code)]).await?;
    book.hold(owner, code, measure, atoms)?;
    store::save_book(unit, &book).await
}

/// Makes money that was set aside available again.
///
/// # Errors
/// What [`Book::release`] refuses.
pub async fn release(unit: &mut Unit, owner: &str, code: &str, atoms: i64) -> Result<(), Error> {
    store::take(unit, &BTreeMap::from([(owner, 0)])).await?;
    let mut book = store::load_book(unit, &[(owner, code)]).await?;
    book.release(owner, code, atoms)?;
    store::save_book(unit, &book).await
}

fn to_proto(entry: &Entry) -> api::Entry {
    let value = amount::format(entry.atoms, entry.unit.scale);
    let amount = contracts::r#type::v1::Amount { value, unit: entry.code.clone() };
    api::Entry { owner: book::whole(&entry.owner).to_owned(), amount: Some(amount) }
}
