//! Complete trades per second, from outside: a client speaks gRPC to the edge of a platform in a process of its own, and
//! each call is an order that was committed, settled by the ledger and committed again. Reported as ratios to the same
//! build with a group limit of one, in the same run, since absolute figures move with the machine.

mod load;
mod target;

use anyhow::Result;
use clap::Parser;

use crate::{
    load::{Figures, measure},
    target::{Base, Target},
};

/// Measures complete trades per second, latency, CPU, statements and commits per trade.
#[derive(Parser)]
struct Settings {
    /// Seconds per measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Calls in flight, each measured in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    in_flight: Vec<usize>,
    /// How often each measurement is repeated; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave PostgreSQL out
    #[arg(long)]
    sqlite_only: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    println!(
        "database   hop       group  in flight  trades/s   p50 ms   p99 ms  CPU ms/trade  stmts/trade  commits/trade"
    );
    let bases = if settings.sqlite_only { vec![Base::Sqlite] } else { vec![Base::Sqlite, Base::Postgres] };
    for base in bases {
        for direct in [false, true] {
            compare(&settings, base, direct).await?;
        }
    }
    Ok(())
}

/// Grouped against ungrouped, in turn, so that a machine whose speed drifts treats both alike.
async fn compare(settings: &Settings, base: Base, direct: bool) -> Result<()> {
    let mut targets = Vec::new();
    for group in [256, 1] {
        targets.push((group, Target::start(base, direct, group).await?));
    }
    for &in_flight in &settings.in_flight {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
        for _ in 0..settings.rounds {
            for ((_, target), runs) in targets.iter_mut().zip(&mut runs) {
                runs.push(measure(target, in_flight, settings.seconds).await?);
            }
        }
        let medians: Vec<Figures> = runs.into_iter().map(median).collect();
        for ((group, _), figures) in targets.iter().zip(&medians) {
            let hop = if direct { "direct" } else { "sidecars" };
            println!("{:<10} {hop:<9} {group:>5}  {in_flight:>9}  {figures}", base.name());
        }
        let ratio = |of: fn(&Figures) -> f64| of(&medians[0]) / of(&medians[1]);
        println!(
            "{:>30} grouped / ungrouped: {:.2}x trades, {:.2}x CPU",
            "",
            ratio(|figures| figures.per_second),
            ratio(|figures| figures.cpu_ms)
        );
    }
    Ok(())
}

/// The run in the middle by trades per second.
fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    runs.swap_remove(runs.len() / 2)
}
