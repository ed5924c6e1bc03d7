//! Adding up again: INV-6 (what has ended stays ended), INV-7 (every step of a history is a move) and INV-9 (0 ≤ refunded ≤
//! captured ≤ amount, and as much as the provider says). A check that runs out of time says where to go on.

use std::time::Duration;

use contracts::payment::v1::VerifyPaymentsResponse;
use kit::{Call, Error, Timestamp};
use storage::Session;
use tokio::time::Instant;

use crate::{
    Service,
    payment::State,
    refund,
    store::verify::{self, Check, Page},
};

/// How many problems end a check. What the last page adds is told too: nothing goes back to it.
const PROBLEMS: usize = 100;
/// How many payments each question names on a page.
const NAMED: i64 = 100;
/// How much one read looks at: few enough that nobody waits for it.
const PAGE: i64 = 1_000;
/// How long before its deadline a check ends and says where to go on.
const RESERVE: Duration = Duration::from_secs(1);
/// What the tokens are for.
const TOKENS: &str = "payments that are verified";

/// What is looked at, page by page, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Payments,
    /// The simulator's books, for what we may not know of.
    Charges,
    Histories,
}

/// Where a check goes on: after this id of the subject.
pub(crate) type Place = (Subject, String);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) payment_count: i64,
    /// What does not hold, a sentence each.
    pub(crate) problems: Vec<String>,
}

impl Subject {
    const ALL: [Subject; 3] = [Subject::Payments, Subject::Charges, Subject::Histories];

    fn name(self) -> &'static str {
        match self {
            Subject::Payments => "payments",
            Subject::Charges => "charges",
            Subject::Histories => "histories",
        }
    }

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|subject| *subject != self).nth(1)
    }
}

/// Adds everything up, page by page, from where the token says, for as long as there is time. Each payment is looked at at
/// one moment, and all of them while they go on.
///
/// # Errors
/// `INVALID_PAGE_TOKEN`; if the database cannot be read.
pub async fn verify(service: &Service, page_token: &str) -> Result<VerifyPaymentsResponse, Error> {
    let end = Call::current()?.deadline.and_then(|deadline| deadline.checked_sub(RESERVE));
    let keys = service.0.tokens.decode(page_token, TOKENS)?;
    let (was_right, from) = keys.map_or(Ok((true, start())), |keys| read(&keys).ok_or_else(unknown))?;
    let (Findings { payment_count, problems }, left) = by_pages(service, from, PAGE, end).await?;
    let is_right = was_right && problems.is_empty();
    let holds = is_right && left.is_none();
    let token = |(subject, after): Place| {
        service.0.tokens.encode(TOKENS, &[is_right.to_string(), subject.name().to_owned(), after])
    };
    Ok(VerifyPaymentsResponse { holds, payment_count, problems, next_page_token: left.map(token).unwrap_or_default() })
}

/// Before everything.
pub(crate) fn start() -> Place {
    (Subject::Payments, String::new())
}

/// What a token says: whether everything was right so far, and where to go on.
fn read(keys: &[String]) -> Option<(bool, Place)> {
    let [was_right, subject, after] = keys else { return None };
    let subject = Subject::ALL.into_iter().find(|one| one.name() == subject)?;
    Some((was_right.parse().ok()?, (subject, after.clone())))
}

fn unknown() -> Error {
    let message = "`page_token` says nothing that can be verified. Repeat the call without it.";
    Error::named("INVALID_PAGE_TOKEN", message).with("field", "page_token")
}

/// Adds up, so much in one read, until everything is added up, the time is over or there are many problems; and where it
/// stopped then.
pub(crate) async fn by_pages(
    service: &Service,
    from: Place,
    size: i64,
    end: Option<Instant>,
) -> Result<(Findings, Option<Place>), Error> {
    let mut findings = Findings::default();
    let mut left = Some(from);
    while let Some((subject, after)) = left {
        left = match page(service, subject, &after, size, &mut findings).await? {
            Some(end) => Some((subject, end)),
            None => subject.next().map(|subject| (subject, String::new())),
        };
        if findings.problems.len() >= PROBLEMS || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
    Ok((findings, left))
}

/// Looks at a page, in a read of its own. Gives back its last id.
async fn page(
    service: &Service,
    subject: Subject,
    after: &str,
    size: i64,
    findings: &mut Findings,
) -> Result<Option<String>, Error> {
    let now = service.0.db.clock().now();
    let simulator = service.0.simulator.is_some().then_some(now);
    if subject == Subject::Charges && simulator.is_none() {
        return Ok(None);
    }
    let read = service.0.db.snapshot(async |session: &mut Session| {
        let next = match subject {
            Subject::Payments => verify::PAYMENTS,
            Subject::Charges => verify::CHARGES,
            Subject::Histories => verify::HISTORIES,
        };
        let Some(page) = verify::page(session, next, after, size).await? else { return Ok(None) };
        let found = match subject {
            Subject::Payments => figures(session, &page, simulator).await?,
            Subject::Charges => provider(session, verify::SECURED, &page, now).await?,
            Subject::Histories => moves(session, &page).await?,
        };
        Ok(Some((page, found)))
    });
    let Some((page, found)) = read.await? else { return Ok(None) };
    findings.problems.extend(found);
    if subject == Subject::Payments {
        findings.payment_count += page.count;
    }
    Ok(Some(page.end))
}

/// What is wrong with payments by themselves, and by the books of the simulator if there is one at that time.
async fn figures(session: &mut Session, page: &Page, simulator: Option<Timestamp>) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for check in verify::FIGURES {
        let wrong = verify::wrong(session, check, page, NAMED).await?;
        problems.extend(wrong.iter().map(|id| format!("INV-9: {id} {}.", check.says)));
    }
    if let Some(now) = simulator {
        problems.extend(provider(session, verify::SIMULATOR, page, now).await?);
    }
    Ok(problems)
}

async fn provider(session: &mut Session, checks: &[Check], page: &Page, now: Timestamp) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for check in checks {
        let wrong = verify::wrong_at(session, check, page, now, NAMED).await?;
        problems.extend(wrong.iter().map(|id| format!("INV-9: {id} {}.", check.says)));
    }
    Ok(problems)
}

async fn moves(session: &mut Session, page: &Page) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for (id, from, to) in verify::moves(session, page).await? {
        let (ended, legal) = match id.starts_with("pay_") {
            true => {
                let (from, to) = (State::named(&from)?, State::named(&to)?);
                (from.is_final() && from != to, from.leads_to(to))
            }
            false => {
                let (from, to) = (refund::State::named(&from)?, refund::State::named(&to)?);
                (matches!(from, refund::State::Succeeded | refund::State::Failed), from.leads_to(to))
            }
        };
        if ended {
            problems.push(format!("INV-6: {id} had ended as {from}, and went on to {to}."));
        } else if !legal {
            problems.push(format!("INV-7: {id} went from {from} to {to}, which is no move."));
        }
    }
    Ok(problems)
}
