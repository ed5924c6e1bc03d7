//! A closed loop of callers: each begins its next piece of work when the last is complete.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    target::Target,
    work::{Took, Work, once},
};

/// What was seen in one run.
#[derive(Clone)]
pub struct Figures {
    /// How many were completed a second.
    pub per_second: f64,
    /// The median and the 99th percentile until the order was accepted, in milliseconds.
    pub accepted_ms: [f64; 2],
    /// The same until it was complete.
    pub complete_ms: [f64; 2],
    /// CPU of the platform and of the database server, for each.
    pub cpu_ms: f64,
    /// Statements of every database for each, whatever they are for.
    pub statements: f64,
    /// Commits of every database for each.
    pub commits: f64,
}

impl Figures {
    /// The head of the table.
    pub const HEAD: &str = "work      database  hop       group  in flight  completed/s  accepted p50/p99 ms  \
                            complete p50/p99 ms  CPU ms each  stmts each  commits each";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, accepted_ms, complete_ms, cpu_ms, statements, commits } = self;
        write!(f, "{per_second:>11.0}  {:>9.1} /{:>8.1}  ", accepted_ms[0], accepted_ms[1])?;
        write!(f, "{:>9.1} /{:>8.1}  {cpu_ms:>11.2}  ", complete_ms[0], complete_ms[1])?;
        write!(f, "{statements:>10.1}  {commits:>12.2}")
    }
}

/// Keeps `in_flight` pieces of work under way for `seconds`.
pub async fn measure(target: &mut Target, work: Work, in_flight: usize, seconds: u64) -> Result<Figures> {
    let (cpu, (statements, commits)) = (target.cpu_ms()?, target.work().await?);
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let callers = (0..in_flight).map(|number| {
        let channel = target.channels[number % target.channels.len()].clone();
        let token = target.tokens[number % target.tokens.len()].clone();
        let variants = target.variants.clone();
        let caller = async move {
            let mut took = Vec::new();
            for variant in variants.iter().cycle().skip(number) {
                if Instant::now() >= until {
                    break;
                }
                took.push(once(work, &channel, &token, variant).await?);
            }
            anyhow::Ok(took)
        };
        async move { tokio::spawn(caller).await? }
    });
    let took: Vec<Took> = try_join_all(callers).await?.into_iter().flatten().collect();
    let elapsed = started.elapsed();
    ensure!(!took.is_empty(), "not one was completed");
    let count = took.len() as f64;
    let (statements_after, commits_after) = target.work().await?;
    Ok(Figures {
        per_second: count / elapsed.as_secs_f64(),
        accepted_ms: percentiles(took.iter().map(|took| took.accepted)),
        complete_ms: percentiles(took.iter().map(|took| took.complete)),
        cpu_ms: (target.cpu_ms()? - cpu) / count,
        statements: (statements_after - statements) / count,
        commits: (commits_after - commits) / count,
    })
}

/// The median and the 99th percentile, in milliseconds.
fn percentiles(times: impl Iterator<Item = Duration>) -> [f64; 2] {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    [0.5, 0.99].map(|share| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0)
}
