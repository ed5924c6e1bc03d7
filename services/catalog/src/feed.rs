//! Where prices come from. A feed is a stream of batches of ticks; [`Walks`] is the demo's, [`PriceFile`] that of whoever
//! wants to move the market by hand, and a venue's would be a third.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use kit::{Clock, Timestamp, amount};

use crate::{
    assets::{Asset, PRICE_SCALE},
    walk::{self, Walk},
};

const DAY: Duration = Duration::from_secs(86_400);
/// Each asset of the walk ticks at every third interval, so that a tick moves a part of the market.
const TURNS: i64 = 3;
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What a market says about one asset. Prices are atoms of a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The unit of the asset.
    pub unit: Arc<str>,
    /// What one may sell at.
    pub bid: i64,
    /// What one may buy at.
    pub ask: i64,
    /// The price of the last trade.
    pub last: i64,
    /// The price of the last trade a day before, if it is known.
    pub day_ago: Option<i64>,
    /// When the market said so.
    pub observe_time: Timestamp,
}

impl Tick {
    /// What a caller trades at.
    pub fn price(&self, side: crate::quote::Side) -> i64 {
        match side {
            crate::quote::Side::Buy => self.ask,
            crate::quote::Side::Sell => self.bid,
        }
    }

    /// The change since a day ago, in basis points.
    pub fn change_day_bps(&self) -> i32 {
        let before = i128::from(self.day_ago.unwrap_or(self.last).max(1));
        let change = (i128::from(self.last) - before) * 10_000;
        i32::try_from(amount::divide(change, before, amount::Rounding::HalfEven)).unwrap_or(i32::MAX)
    }
}

/// A source of prices.
pub trait Feed: Send {
    /// The ticks from now on, in batches, without an end: a feed that loses its source connects again. What it knows at
    /// once comes first.
    fn ticks(self: Box<Self>, clock: Clock) -> BoxStream<'static, Vec<Tick>>;
}

/// Which feed to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChoice {
    /// `walk`, or `walk:42` with a seed: a random walk around the start prices.
    Walk {
        /// Makes another market.
        seed: u64,
    },
    /// `file:PATH`: every price stands at its start, but for those that the file names.
    File(PathBuf),
}

impl Default for FeedChoice {
    fn default() -> Self {
        Self::Walk { seed: 1 }
    }
}

impl FromStr for FeedChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choice = match text.split_once(':') {
            None if text == "walk" => Some(Self::default()),
            Some(("walk", seed)) => seed.parse().ok().map(|seed| Self::Walk { seed }),
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.into())),
            _ => None,
        };
        choice.ok_or_else(|| format!("`{text}` is no feed: choose `walk`, `walk:SEED` or `file:PATH`"))
    }
}

/// A random walk for every asset.
pub struct Walks {
    /// Whose prices walk.
    pub assets: Vec<Asset>,
    /// Makes another market.
    pub seed: u64,
    /// The time between two batches.
    pub interval: Duration,
    /// How far bid and ask are apart, in basis points.
    pub spread_bps: u32,
}

impl Feed for Walks {
    fn ticks(self: Box<Self>, clock: Clock) -> BoxStream<'static, Vec<Tick>> {
        let interval = micros(self.interval);
        let start = turn(clock.now(), interval);
        let all = self.batch(start, |_| true);
        let later = stream::unfold((self, clock, start), move |(walks, clock, previous)| async move {
            clock.sleep_until(Timestamp::from_micros((previous + 1) * interval)).await;
            let now = turn(clock.now(), interval);
            // Whoever wakes late, or on a clock that was moved by hand, ticks for every turn that was missed.
            let missed = (now - previous).min(TURNS);
            let batch = walks.batch(now, |phase| (now - phase).rem_euclid(TURNS) < missed);
            Some((batch, (walks, clock, now)))
        });
        stream::once(async { all }).chain(later).boxed()
    }
}

impl Walks {
    /// The ticks of the assets whose turn it was, each at the time of its turn: the same on every replica.
    fn batch(&self, now: i64, wanted: impl Fn(i64) -> bool) -> Vec<Tick> {
        let interval = micros(self.interval);
        let phased = (0..TURNS).cycle().zip(&self.assets).filter(|(phase, _)| wanted(*phase));
        phased
            .map(|(phase, asset)| {
                let time = Timestamp::from_micros((now - (now - phase).rem_euclid(TURNS)) * interval);
                let unit = &asset.unit.code;
                let walk = Walk::new(self.seed, unit, asset.start_price, asset.swing_bps);
                let day_ago = Some(walk.price(time - DAY));
                tick(unit, walk.price(time), day_ago, self.spread_bps, time)
            })
            .collect()
    }
}

/// Prices that someone writes down: a line `BTC 61000.50` sets a price, `BTC -` silences the asset, and all others stand
/// at their start. The file is read again at every interval and may be missing.
pub struct PriceFile {
    /// Whose prices stand.
    pub assets: Vec<Asset>,
    /// The file.
    pub path: PathBuf,
    /// The time between two batches.
    pub interval: Duration,
    /// How far bid and ask are apart, in basis points.
    pub spread_bps: u32,
}

impl Feed for PriceFile {
    fn ticks(self: Box<Self>, clock: Clock) -> BoxStream<'static, Vec<Tick>> {
        let start = clock.now();
        stream::unfold((self, clock, start), |(file, clock, due)| async move {
            clock.sleep_until(due).await;
            let now = clock.now();
            let batch = file.batch(&file.read().await, now);
            let due = now + file.interval;
            Some((batch, (file, clock, due)))
        })
        .boxed()
    }
}

impl PriceFile {
    async fn read(&self) -> String {
        let size = tokio::fs::metadata(&self.path).await.map_or(0, |metadata| metadata.len());
        if size > FILE_MAX_BYTES {
            tracing::warn!(path = %self.path.display(), size, "the file of prices is too large to be read");
            return String::new();
        }
        tokio::fs::read_to_string(&self.path).await.unwrap_or_default()
    }

    fn batch(&self, text: &str, now: Timestamp) -> Vec<Tick> {
        let written = |unit: &str| {
            let mut lines = text.lines().filter_map(|line| line.trim().split_once(' '));
            lines.find(|(name, _)| *name == unit).map(|(_, price)| price.trim())
        };
        let price = |asset: &Asset| match written(&asset.unit.code) {
            None => Some(asset.start_price),
            Some(price) => amount::parse(price, PRICE_SCALE).ok().filter(|price| *price > 0),
        };
        self.assets
            .iter()
            .filter_map(|asset| {
                let start = Some(asset.start_price);
                Some(tick(&asset.unit.code, price(asset)?, start, self.spread_bps, now))
            })
            .collect()
    }
}

fn tick(unit: &str, last: i64, day_ago: Option<i64>, spread_bps: u32, observe_time: Timestamp) -> Tick {
    let (bid, ask) = walk::spread(last, spread_bps);
    Tick { unit: unit.into(), bid, ask, last, day_ago, observe_time }
}

fn turn(now: Timestamp, interval: i64) -> i64 {
    now.micros().div_euclid(interval)
}

/// An interval in microseconds, at least one millisecond.
fn micros(interval: Duration) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1_000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::assets::Seed;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn assets() -> Vec<Asset> {
        Seed::read().unwrap().assets
    }

    fn walks(clock: &Clock, seed: u64) -> BoxStream<'static, Vec<Tick>> {
        let feed = Walks { assets: assets(), seed, interval: SECOND, spread_bps: 10 };
        Box::new(feed).ticks(clock.clone())
    }

    #[tokio::test]
    async fn a_walk_tells_all_prices_first_and_then_a_third_at_every_tick() {
        let clock = Clock::manual(START);
        let mut ticks = walks(&clock, 1);
        assert_eq!(ticks.next().await.unwrap().len(), assets().len());
        let mut seen = BTreeMap::<_, u32>::new();
        for _ in 0..3 {
            clock.advance(SECOND);
            let batch = ticks.next().await.unwrap();
            assert!(batch.len() * 2 < assets().len());
            assert!(batch.iter().all(|tick| tick.observe_time == clock.now() && tick.bid < tick.ask));
            batch.into_iter().for_each(|tick| *seen.entry(tick.unit).or_default() += 1);
        }
        assert_eq!(seen.len(), assets().len());
        assert!(seen.values().all(|count| *count == 1));
    }

    #[tokio::test]
    async fn every_price_is_fresh_after_the_clock_has_jumped() {
        let clock = Clock::manual(START);
        let mut ticks = walks(&clock, 1);
        ticks.next().await.unwrap();
        clock.advance(SECOND * 3_600);
        let batch = ticks.next().await.unwrap();
        assert_eq!(batch.len(), assets().len());
        assert!(batch.iter().all(|tick| clock.now().since(tick.observe_time) < SECOND * 3));
    }

    #[tokio::test]
    async fn replicas_agree_on_every_price_whenever_they_started() {
        let clock = Clock::manual(START);
        let mut early = walks(&clock, 1);
        let mut latest = BTreeMap::new();
        for _ in 0..5 {
            early.next().await.unwrap().into_iter().for_each(|tick| drop(latest.insert(tick.unit.clone(), tick)));
            clock.advance(SECOND);
        }
        early.next().await.unwrap().into_iter().for_each(|tick| drop(latest.insert(tick.unit.clone(), tick)));
        let late = walks(&clock, 1).next().await.unwrap();
        assert!(late.iter().all(|tick| latest[&tick.unit] == *tick));
        assert_ne!(walks(&clock, 2).next().await.unwrap(), late);
    }

    #[test]
    fn a_file_moves_the_prices_it_names_and_silences_what_it_strikes_out() {
        let assets = assets();
        let count = assets.len();
        let file = PriceFile { assets, path: "none".into(), interval: SECOND, spread_bps: 10 };
        let prices = |text: &str| {
            let batch = file.batch(text, START);
            batch.into_iter().map(|tick| (tick.unit.to_string(), tick.last)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(prices("").len(), count);
        let moved = prices("BTC 61000.50\n# a remark\nETH -\nSOL not-a-price\n\nDOGE 0");
        assert_eq!(moved["BTC"], 6_100_050_000_000);
        assert_eq!(moved["ADA"], prices("")["ADA"]);
        assert_eq!(moved.len(), count - 3);
    }

    #[tokio::test]
    async fn a_file_is_read_again_at_every_interval_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices");
        let clock = Clock::manual(START);
        let file = PriceFile { assets: assets(), path: path.clone(), interval: SECOND, spread_bps: 10 };
        let mut ticks = Box::new(file).ticks(clock.clone());
        let bitcoin = |batch: Vec<Tick>| batch.into_iter().find(|tick| &*tick.unit == "BTC").map(|tick| tick.last);
        assert_eq!(bitcoin(ticks.next().await.unwrap()), Some(6_725_000_000_000));
        for (text, price) in [("BTC 70000", Some(7_000_000_000_000)), ("BTC -", None), ("", Some(6_725_000_000_000))] {
            std::fs::write(&path, text).unwrap();
            clock.advance(SECOND);
            assert_eq!(bitcoin(ticks.next().await.unwrap()), price, "{text}");
        }
        std::fs::write(&path, vec![b'\n'; FILE_MAX_BYTES as usize + 1]).unwrap();
        clock.advance(SECOND);
        assert_eq!(ticks.next().await.unwrap().len(), assets().len(), "a file too large is no file");
    }

    #[test]
    fn a_feed_is_chosen_by_a_word() {
        assert_eq!("walk".parse(), Ok(FeedChoice::Walk { seed: 1 }));
        assert_eq!("walk:42".parse(), Ok(FeedChoice::Walk { seed: 42 }));
        assert_eq!("file:/a b".parse(), Ok(FeedChoice::File("/a b".into())));
        for wrong in ["", "walk:", "walk:x", "file:", "file", "venue:x"] {
            assert!(wrong.parse::<FeedChoice>().unwrap_err().contains("choose"), "{wrong}");
        }
    }

    #[test]
    fn the_change_of_a_day_is_rounded_to_basis_points() {
        let change = |last, day_ago| {
            Tick { unit: "X".into(), bid: 1, ask: 2, last, day_ago, observe_time: START }.change_day_bps()
        };
        assert_eq!(change(110, Some(100)), 1_000);
        assert_eq!(change(99, Some(100)), -100);
        assert_eq!(change(100, None), 0);
        assert_eq!(change(i64::MAX, Some(0)), i32::MAX);
    }
}
