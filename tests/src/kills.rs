//! One SIGKILL after another, at places drawn by lot, while customers are at work: `AGORA_KILLS` says how many.

use anyhow::Result;
use rand::{Rng, seq::IndexedRandom};

use crate::{
    customers::Crowd,
    facts::every_fact_is_told_once,
    mortal::Mortal,
    platform::Shape,
    points::{POINTS, Way},
};

/// How many customers there are.
const CUSTOMERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_kill_after_another_under_load_loses_nothing_and_repeats_nothing_on_sqlite() -> Result<()> {
    one_kill_after_another(Shape::Meshed).await
}

/// Here one role dies at a time, and the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_kill_after_another_under_load_loses_nothing_and_repeats_nothing_on_postgresql() -> Result<()> {
    one_kill_after_another(Shape::Roles).await
}

async fn one_kill_after_another(shape: Shape) -> Result<()> {
    let kills: u32 = std::env::var("AGORA_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let settings = [("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")];
    let mut mortal = Mortal::start(shape, &settings).await?;
    let crowd = Crowd::gather(&mortal.client()?, CUSTOMERS).await?;
    // Nobody changes a password or gives a shipment up here.
    let elsewhere = |ways: &[Way]| ways.iter().all(|way| matches!(way, Way::Password | Way::GivenUp));
    let points: Vec<&str> = POINTS.iter().filter(|(_, ways)| !elsewhere(ways)).map(|(point, _)| *point).collect();
    for kill in 1..=kills {
        let point = points.choose(&mut rand::rng()).expect("there are points");
        eprintln!("kill {kill} of {kills}: {point}");
        crowd.serves(rand::rng().random_range(0..CUSTOMERS)).await;
        mortal.arm(point)?;
        let died = mortal.death(point).await?;
        if kill == kills {
            crowd.enough();
        }
        mortal.start_again(died).await?;
        crowd.moved(mortal.client()?);
    }
    let orders = crowd.settle().await?;
    eprintln!("{orders} orders over {kills} kills");
    every_fact_is_told_once(&mortal.platform).await
}
