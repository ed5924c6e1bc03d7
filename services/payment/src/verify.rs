//! Adding up again: INV-6 (what has ended stays ended), INV-7 (every step of a history is a move) and INV-9 (0 ≤ refunded ≤
//! captured ≤ amount, and as much as the provider says).

use contracts::payment::v1::VerifyPaymentsResponse;
use kit::{Error, Timestamp};
use storage::Session;

use crate::{
    Service,
    payment::State,
    refund,
    store::verify::{self, Check, Page},
};

/// The most sentences in one reply.
const PROBLEMS_MAX: usize = 100;
/// How much one read looks at: few enough that nobody waits for it.
const PAGE: i64 = 1_000;

/// What is looked at, page by page.
#[derive(Clone, Copy)]
enum Subject {
    Payments,
    /// The simulator's books, for what we may not know of.
    Charges,
    Histories,
}

/// Adds everything up, page by page. Each payment is looked at at one moment, and all of them while they go on.
///
/// # Errors
/// If the database cannot be read.
pub async fn verify(service: &Service) -> Result<VerifyPaymentsResponse, Error> {
    by_pages(service, PAGE).await
}

/// Adds everything up, so much in one read.
pub(crate) async fn by_pages(service: &Service, size: i64) -> Result<VerifyPaymentsResponse, Error> {
    let mut problems = Vec::new();
    let payment_count = every_page(service, Subject::Payments, size, &mut problems).await?;
    if service.0.simulator.is_some() {
        every_page(service, Subject::Charges, size, &mut problems).await?;
    }
    every_page(service, Subject::Histories, size, &mut problems).await?;
    Ok(VerifyPaymentsResponse { holds: problems.is_empty(), payment_count, problems })
}

/// Looks at every page, in a read of its own. Gives back how much there was.
async fn every_page(service: &Service, subject: Subject, size: i64, problems: &mut Vec<String>) -> Result<i64, Error> {
    let now = service.0.db.clock().now();
    let simulator = service.0.simulator.is_some();
    let (mut after, mut count) = (String::new(), 0);
    loop {
        // How many more are worth to be named.
        let room = i64::try_from(PROBLEMS_MAX.saturating_sub(problems.len())).unwrap_or_default();
        let next = service.0.db.snapshot(async |session: &mut Session| {
            let next = match subject {
                Subject::Payments => verify::PAYMENTS,
                Subject::Charges => verify::CHARGES,
                Subject::Histories => verify::HISTORIES,
            };
            let Some(page) = verify::page(session, next, &after, size).await? else { return Ok(None) };
            let found = match subject {
                Subject::Payments => figures(session, &page, simulator.then_some(now), room).await?,
                Subject::Charges => provider(session, verify::SECURED, &page, now, room).await?,
                Subject::Histories => moves(session, &page).await?,
            };
            Ok(Some((page, found)))
        });
        let Some((page, found)) = next.await? else { return Ok(count) };
        problems.extend(found);
        problems.truncate(PROBLEMS_MAX);
        count += page.count;
        after = page.end;
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
}

/// What is wrong with payments by themselves, and by the books of the simulator if there is one at that time.
async fn figures(
    session: &mut Session,
    page: &Page,
    simulator: Option<Timestamp>,
    room: i64,
) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for check in verify::FIGURES {
        let wrong = verify::wrong(session, check, page, room).await?;
        problems.extend(wrong.iter().map(|id| format!("INV-9: {id} {}.", check.says)));
    }
    if let Some(now) = simulator {
        problems.extend(provider(session, verify::SIMULATOR, page, now, room).await?);
    }
    Ok(problems)
}

async fn provider(
    session: &mut Session,
    checks: &[Check],
    page: &Page,
    now: Timestamp,
    room: i64,
) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for check in checks {
        let wrong = verify::wrong_at(session, check, page, now, room).await?;
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
