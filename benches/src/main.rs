//! Complete trades and purchases per second, from outside: a client speaks gRPC to the edge of a platform in a process
//! of its own. A trade is an order that was committed, settled by the ledger and committed again; a purchase is one whose
//! goods were set aside, whose money was secured, and that was shipped and charged by the demo warehouse. Reported as
//! ratios to the same build with a group limit of one, in the same run, since absolute figures move with the machine.

mod grow;
mod load;
mod target;
mod work;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::{
    load::{Figures, measure},
    target::{Base, Shop, Target},
    work::Work,
};

/// Measures trades and purchases per second, latency, CPU, statements and commits of each.
#[derive(Parser)]
struct Settings {
    /// Seconds per measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How many are under way, each number measured in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    in_flight: Vec<usize>,
    /// How often each measurement is repeated; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Work::Trade, Work::Purchase])]
    work: Vec<Work>,
    /// On which databases
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Base::Sqlite, Base::Postgres])]
    base: Vec<Base>,
    /// Instead: what a purchase costs with so many orders in the database, each number in turn (SQLite, in memory)
    #[arg(long, value_delimiter = ',', value_name = "ORDERS")]
    grow: Vec<u64>,
    /// With sidecars, or in memory
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Hop::Sidecars, Hop::Direct])]
    hop: Vec<Hop>,
    #[command(flatten)]
    shop: Shop,
}

/// What lies between two services.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hop {
    /// Two sidecars and mutual TLS.
    Sidecars,
    /// A call in memory.
    Direct,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    println!("{}", Figures::HEAD);
    if !settings.grow.is_empty() {
        return grow::run(&settings.grow, &settings.in_flight, settings.seconds, settings.shop).await;
    }
    for &work in &settings.work {
        for &base in &settings.base {
            for &hop in &settings.hop {
                compare(&settings, work, base, hop).await?;
            }
        }
    }
    Ok(())
}

/// Grouped against ungrouped, in turn, so that a machine whose speed drifts treats both alike.
async fn compare(settings: &Settings, work: Work, base: Base, hop: Hop) -> Result<()> {
    let mut targets = Vec::new();
    for group in [256, 1] {
        targets.push((group, Target::start(base, hop == Hop::Direct, group, settings.shop).await?));
    }
    for &in_flight in &settings.in_flight {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
        for _ in 0..settings.rounds {
            for ((_, target), runs) in targets.iter_mut().zip(&mut runs) {
                runs.push(measure(target, work, in_flight, settings.seconds).await?);
            }
        }
        let medians: Vec<Figures> = runs.into_iter().map(median).collect();
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let (work, base) = (name(&|| work.to_possible_value()), name(&|| base.to_possible_value()));
        let hop = name(&|| hop.to_possible_value());
        for ((group, _), figures) in targets.iter().zip(&medians) {
            println!("{work:<9} {base:<9} {hop:<9} {group:>5}  {in_flight:>9}  {figures}");
        }
        let ratio = |of: fn(&Figures) -> f64| of(&medians[0]) / of(&medians[1]);
        println!(
            "{:>36} grouped / ungrouped: {:.2}x per second, {:.2}x CPU",
            "",
            ratio(|figures| figures.per_second),
            ratio(|figures| figures.cpu_ms)
        );
    }
    Ok(())
}

/// The run in the middle by what was done per second.
fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    runs.swap_remove(runs.len() / 2)
}
