//! Adding the books up again, page by page: INV-1 (the entries of every transaction sum to zero, and every account has what
//! its entries say) and INV-2 (nobody but the house has less than nothing). A check that runs out of time between two pieces
//! says where to go on. A page of owners or of transactions is a piece, and so is what one owner has, however much it is:
//! a check that has no time for it fails, and needs a later deadline.

use std::{collections::BTreeMap, time::Duration};

use kit::{Call, Error};
use storage::Session;
use tokio::time::Instant;

use crate::{
    Service,
    verify_store::{self, Owner, Page, Tally},
};

/// How many entries or transactions one read adds up: whoever shares the database's thread waits as long.
const PAGE: i64 = 5_000;
/// After every name and every id: where the last page ends.
const END: &str = "\u{10FFFF}";
/// How long before its deadline a check ends and says where to go on.
const RESERVE: Duration = Duration::from_secs(1);
/// What the tokens are for.
pub(crate) const TOKENS: &str = "books that are verified";

/// What the books of each unit add up to.
pub type Sums = BTreeMap<String, Sum>;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Whether everything holds, what the checks before looked at included; not as long as something is left.
    pub holds: bool,
    /// What was added up this time.
    pub sums: Sums,
    /// Where to go on; empty if nothing is left.
    pub next_page_token: String,
}

/// What is looked at, page by page, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Accounts, by owner.
    Accounts,
    /// Transactions, by id.
    Transactions,
}

/// Where a check goes on: after a name or an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    subject: Subject,
    after: String,
}

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

/// Adds everything up, by unit, from where the token says, for as long as there is time. Each account and each transaction
/// is looked at at one moment, and all of them while they go on.
///
/// # Errors
/// `INVALID_PAGE_TOKEN`; if the database cannot be read.
pub async fn verify(service: &Service, page_token: &str) -> Result<Findings, Error> {
    let end = Call::current()?.deadline.and_then(|deadline| deadline.checked_sub(RESERVE));
    let keys = service.0.tokens.decode(page_token, TOKENS)?;
    let (was_right, from) = keys.map_or(Ok((true, Place::start())), |keys| read(&keys).ok_or_else(unknown))?;
    let (sums, left) = by_pages(service, from, PAGE, end).await?;
    let is_right = was_right && sums.values().all(Sum::holds);
    let holds = is_right && left.is_none();
    let token = |Place { subject, after }| {
        service.0.tokens.encode(TOKENS, &[is_right.to_string(), subject.name().to_owned(), after])
    };
    Ok(Findings { holds, sums, next_page_token: left.map(token).unwrap_or_default() })
}

/// What a token says: whether everything was right so far, and where to go on.
fn read(keys: &[String]) -> Option<(bool, Place)> {
    let [was_right, subject, after] = keys else { return None };
    Some((was_right.parse().ok()?, Place { subject: Subject::named(subject)?, after: after.clone() }))
}

/// Adds up, so much in one read, until everything is or the time is over; and where it stopped then.
pub(crate) async fn by_pages(
    service: &Service,
    from: Place,
    size: i64,
    end: Option<Instant>,
) -> Result<(Sums, Option<Place>), Error> {
    let mut sums = Sums::new();
    let mut left = Some(from);
    while let Some(place) = left {
        let ended = match place.subject {
            Subject::Accounts => accounts(service, &place.after, size, &mut sums).await?,
            Subject::Transactions => transactions(service, &place.after, size, &mut sums).await?,
        };
        left = place.next(ended);
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
    Ok((sums, left))
}

fn unknown() -> Error {
    let message = "`page_token` says nothing that can be verified. Repeat the call without it.";
    Error::named("INVALID_PAGE_TOKEN", message).with("field", "page_token")
}

impl Subject {
    const ALL: [Subject; 2] = [Subject::Accounts, Subject::Transactions];

    fn name(self) -> &'static str {
        match self {
            Subject::Accounts => "accounts",
            Subject::Transactions => "transactions",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|subject| *subject != self).nth(1)
    }
}

impl Place {
    /// Before everything.
    pub(crate) fn start() -> Self {
        Self { subject: Subject::Accounts, after: String::new() }
    }

    /// After a page that ended there.
    fn next(self, ended: String) -> Option<Self> {
        if ended == END {
            return self.subject.next().map(|subject| Self { subject, after: String::new() });
        }
        Some(Self { after: ended, ..self })
    }
}

/// Adds up a page of accounts. Gives back where it ends.
async fn accounts(service: &Service, after: &str, size: i64, sums: &mut Sums) -> Result<String, Error> {
    let read = async |session: &mut Session| {
        let owners = verify_store::owners(session, after, size).await?;
        let end = cut(&owners, size);
        let busy = owners.into_iter().next().filter(|first| first.entries > size);
        let page = Page { after, end: &end };
        Ok(match busy {
            // The page ends with whoever is busy.
            Some(owner) => {
                let found = verify_store::accounts_before(session, &page).await?;
                let tallies = verify_store::tallies(session, &owner).await?;
                (end, found, Some((tallies, owner)))
            }
            None => {
                let found = verify_store::accounts(session, &page).await?;
                (end, found, None)
            }
        })
    };
    let (end, mut found, busy) = service.0.db.snapshot(read).await?;
    if let Some((tallies, owner)) = busy {
        found.extend(accounts_of(service, &owner, tallies, size).await?);
    }
    for (code, accounts, wrong) in found {
        let sum = sums.entry(code).or_default();
        sum.accounts += accounts;
        sum.wrong += wrong;
    }
    Ok(end)
}

/// Adds the accounts of one owner up, so many entries in one read. They are those that there were when the accounts were
/// read: none is ever changed, and those that come meanwhile have higher numbers.
async fn accounts_of(
    service: &Service,
    owner: &Owner,
    mut tallies: BTreeMap<String, Tally>,
    size: i64,
) -> Result<Vec<(String, i64, i64)>, Error> {
    let mut after = 0;
    while after < owner.entries {
        let end = (after + size).min(owner.entries);
        let read = async |session: &mut Session| verify_store::entries(session, &owner.name, after, end).await;
        for (unit, atoms, moved) in service.0.db.read(read).await? {
            tallies.entry(unit).or_default().add(atoms, moved);
        }
        after = end;
        tokio::task::yield_now().await;
    }
    let line =
        |(unit, tally): (String, Tally)| (unit, i64::from(tally.account.is_some()), i64::from(!tally.is_right()));
    Ok(tallies.into_iter().map(line).collect())
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

/// Adds up a page of transactions. Gives back where it ends.
async fn transactions(service: &Service, after: &str, size: i64, sums: &mut Sums) -> Result<String, Error> {
    let read = async |session: &mut Session| {
        let end = verify_store::last_transaction(session, after, size).await?.unwrap_or_else(|| END.to_owned());
        let found = verify_store::unbalanced(session, &Page { after, end: &end }).await?;
        Ok((end, found))
    };
    let (end, found) = service.0.db.snapshot(read).await?;
    for (code, atoms, unbalanced) in found {
        let sum = sums.entry(code).or_default();
        sum.atoms = sum.atoms.saturating_add(atoms);
        sum.unbalanced += unbalanced;
    }
    Ok(end)
}
