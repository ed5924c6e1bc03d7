//! Adding the books up again, page by page: INV-1 (the entries of every transaction sum to zero, and every account has what
//! its entries say) and INV-2 (nobody but the house has less than nothing).

use std::collections::BTreeMap;

use kit::Error;
use storage::Session;

use crate::{
    Service,
    verify_store::{self, Owner, Page},
};

/// How many entries or transactions one read adds up, but never less than all entries of one owner: those of the house are
/// spread over several owners, and whoever shares the database's thread waits while the longest of them is added up.
const PAGE: i64 = 5_000;
/// After every name and every id: where the last page ends.
const END: &str = "\u{10FFFF}";

/// What the books of a unit add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The sum of what the transactions are off zero, in atoms.
    pub atoms: i64,
    /// How many transactions are off zero.
    pub unbalanced: i64,
    /// How many accounts there are.
    pub accounts: i64,
    /// How many of them are not what their entries and holds say, or are overdrawn; and for how many entries there is none.
    pub wrong: i64,
}

impl Sum {
    /// Whether everything is as it should be.
    pub fn holds(&self) -> bool {
        self.atoms == 0 && self.unbalanced == 0 && self.wrong == 0
    }
}

/// Adds everything up, by unit. Each account and each transaction is looked at at one moment, and all of them while they
/// go on.
///
/// # Errors
/// If the database cannot be read.
pub async fn verify(service: &Service) -> Result<BTreeMap<String, Sum>, Error> {
    by_pages(service, PAGE).await
}

/// Adds everything up, so much in one read.
pub(crate) async fn by_pages(service: &Service, size: i64) -> Result<BTreeMap<String, Sum>, Error> {
    let mut sums = BTreeMap::new();
    accounts(service, size, &mut sums).await?;
    transactions(service, size, &mut sums).await?;
    Ok(sums)
}

async fn accounts(service: &Service, size: i64, sums: &mut BTreeMap<String, Sum>) -> Result<(), Error> {
    let mut after = String::new();
    while after != END {
        let (end, found) = service
            .0
            .db
            .snapshot(async |session: &mut Session| {
                let owners = verify_store::owners(session, &after, size).await?;
                let end = cut(&owners, size);
                let found = verify_store::accounts(session, &Page { after: &after, end: &end }).await?;
                Ok((end, found))
            })
            .await?;
        for (code, accounts, wrong) in found {
            let sum: &mut Sum = sums.entry(code).or_default();
            sum.accounts += accounts;
            sum.wrong += wrong;
        }
        after = end;
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Where a page of owners ends that together have no more entries than this; or of one who has more.
fn cut(owners: &[Owner], entries: i64) -> String {
    let mut sum = 0;
    let fits = owners.iter().take_while(|owner| {
        sum += owner.entries.max(1);
        sum <= entries
    });
    match (fits.count().max(1), owners.len()) {
        (_, 0) => END.to_owned(),
        (count, _) => owners[..count].last().map_or_else(|| END.to_owned(), |owner| owner.name.clone()),
    }
}

async fn transactions(service: &Service, size: i64, sums: &mut BTreeMap<String, Sum>) -> Result<(), Error> {
    let mut after = String::new();
    while after != END {
        let (end, found) = service
            .0
            .db
            .snapshot(async |session: &mut Session| {
                let end = verify_store::last_transaction(session, &after, size).await?;
                let end = end.unwrap_or_else(|| END.to_owned());
                let found = verify_store::unbalanced(session, &Page { after: &after, end: &end }).await?;
                Ok((end, found))
            })
            .await?;
        for (code, atoms, unbalanced) in found {
            let sum: &mut Sum = sums.entry(code).or_default();
            sum.atoms = sum.atoms.saturating_add(atoms);
            sum.unbalanced += unbalanced;
        }
        after = end;
        tokio::task::yield_now().await;
    }
    Ok(())
}
