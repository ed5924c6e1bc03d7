//! The prices of this moment: latest values in memory, neither facts nor rows. Each replica follows the feed by itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::r#type::v1::Reason;
use kit::{Clock, Error};
use tokio::sync::watch;

use crate::feed::Tick;

/// A market of more assets than this ignores the rest.
const UNITS_MAX: usize = 10_000;

/// The latest price of every asset. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Market {
    prices: Arc<watch::Sender<Arc<Prices>>>,
}

#[derive(Clone, Debug, Default)]
struct Prices {
    /// Counts the batches that changed a price.
    revision: u64,
    latest: BTreeMap<Arc<str>, (Tick, u64)>,
    closed: bool,
}

impl Market {
    /// Takes a batch of ticks. A tick that is older than what is known, or that makes no sense, is left out; one that
    /// only confirms a price makes it younger and wakes nobody.
    pub fn publish(&self, batch: Vec<Tick>) {
        self.prices.send_if_modified(|prices| {
            let prices = Arc::make_mut(prices);
            let revision = prices.revision + 1;
            let changes = batch.into_iter().filter(|tick| prices.take(tick, revision)).count();
            if changes > 0 {
                prices.revision = revision;
            }
            changes > 0
        });
    }

    /// The latest tick of an asset.
    pub fn tick(&self, unit: &str) -> Option<Tick> {
        self.prices.borrow().latest.get(unit).map(|(tick, _)| tick.clone())
    }

    /// The latest ticks of these assets, or of all if none is named, in the order of their units.
    pub fn ticks(&self, units: &BTreeSet<String>) -> Vec<Tick> {
        let prices = self.prices.borrow().clone();
        prices.since(0, units)
    }

    /// Ends every watch, now and from now on.
    pub fn close(&self) {
        self.prices.send_modify(|prices| Arc::make_mut(prices).closed = true);
    }

    /// Watches these assets, or all if none is named, for as long as `lifetime`.
    pub fn watch(&self, units: BTreeSet<String>, clock: Clock, lifetime: Duration) -> Watch {
        let end = clock.now() + lifetime;
        Watch { prices: self.prices.subscribe(), units, seen: None, clock, end }
    }
}

impl Prices {
    /// Takes a tick; tells whether it changes a price.
    fn take(&mut self, tick: &Tick, revision: u64) -> bool {
        if tick.bid < 1 || tick.ask < tick.bid || tick.last < 1 {
            tracing::warn!(?tick, "a tick that makes no sense is left out");
            return false;
        }
        let Some((known, changed_at)) = self.latest.get_mut(&tick.unit) else {
            let room = self.latest.len() < UNITS_MAX;
            if room {
                self.latest.insert(tick.unit.clone(), (tick.clone(), revision));
            }
            return room;
        };
        if tick.observe_time < known.observe_time {
            return false;
        }
        let prices = |tick: &Tick| (tick.bid, tick.ask, tick.last);
        let changed = prices(tick) != prices(known);
        if changed {
            *changed_at = revision;
        }
        known.clone_from(tick);
        changed
    }

    fn since(&self, revision: u64, units: &BTreeSet<String>) -> Vec<Tick> {
        let wanted = |unit: &str| units.is_empty() || units.contains(unit);
        let changed = self.latest.iter().filter(|(unit, (_, changed_at))| *changed_at > revision && wanted(unit));
        changed.map(|(_, (tick, _))| tick.clone()).collect()
    }
}

/// A view of the market that is told of changes. Who asks seldom gets the latest prices and skips those in between.
pub struct Watch {
    prices: watch::Receiver<Arc<Prices>>,
    units: BTreeSet<String>,
    seen: Option<u64>,
    clock: Clock,
    end: kit::Timestamp,
}

impl Watch {
    /// First all prices, then whatever has changed since the last call, as soon as something has. `None` at the end: the
    /// watch is too old, or the market is closed.
    pub async fn next(&mut self) -> Option<Vec<Tick>> {
        loop {
            let prices = self.prices.borrow_and_update().clone();
            if prices.closed || self.clock.now() >= self.end {
                return None;
            }
            let first = self.seen.is_none();
            let changed = prices.since(self.seen.unwrap_or(0), &self.units);
            self.seen = Some(prices.revision);
            if first || !changed.is_empty() {
                return Some(changed);
            }
            tokio::select! {
                change = self.prices.changed() => change.ok()?,
                () = self.clock.sleep_until(self.end) => return None,
            }
        }
    }
}

/// How many watches are open, in all and by each caller.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// One open watch of a caller, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    watches: Watches,
    principal: String,
}

impl Watches {
    /// Opens one more, if the caller has fewer than `each` and all together fewer than `total`.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`.
    pub fn open(&self, principal: &str, each: usize, total: usize) -> Result<Permit, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (open.values().sum::<usize>(), open.get(principal).copied().unwrap_or(0));
        if own >= each || all >= total {
            let limit = if own >= each { each } else { total };
            let message = format!("There are {limit} open streams of prices. Close one, or name more units in one.");
            return Err(Error::new(Reason::LimitExceeded, message)
                .with("limit", limit.to_string())
                .with("what", "watches"));
        }
        open.insert(principal.to_owned(), own + 1);
        Ok(Permit { watches: self.clone(), principal: principal.to_owned() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.watches.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kit::Timestamp;

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn tick(unit: &str, last: i64, seconds: u64) -> Tick {
        let observe_time = START + Duration::from_secs(seconds);
        Tick { unit: unit.into(), bid: last, ask: last + 1, last, day_ago: None, observe_time }
    }

    fn prices(ticks: Option<Vec<Tick>>) -> Vec<(String, i64)> {
        ticks.unwrap().into_iter().map(|tick| (tick.unit.to_string(), tick.last)).collect()
    }

    fn watch(market: &Market, units: &[&str]) -> (Watch, Clock) {
        let clock = Clock::manual(START);
        let units = units.iter().map(|unit| (*unit).to_owned()).collect();
        (market.watch(units, clock.clone(), HOUR), clock)
    }

    #[tokio::test]
    async fn a_watch_begins_with_all_prices_and_goes_on_with_those_that_changed() {
        let market = Market::default();
        market.publish(vec![tick("BTC", 10, 0), tick("ETH", 5, 0)]);
        let (mut all, _clock) = watch(&market, &[]);
        let (mut one, _clock) = watch(&market, &["ETH"]);
        assert_eq!(prices(all.next().await), [("BTC".into(), 10), ("ETH".into(), 5)]);
        assert_eq!(prices(one.next().await), [("ETH".into(), 5)]);
        market.publish(vec![tick("BTC", 11, 1), tick("ETH", 5, 1)]);
        assert_eq!(prices(all.next().await), [("BTC".into(), 11)]);
        assert!(one.next().now_or_never().is_none(), "what is not watched wakes nobody up");
    }

    #[tokio::test]
    async fn a_slow_consumer_gets_the_latest_prices_and_skips_those_in_between() {
        let market = Market::default();
        market.publish(vec![tick("BTC", 10, 0), tick("ETH", 5, 0)]);
        let (mut slow, _clock) = watch(&market, &[]);
        slow.next().await.unwrap();
        (1..100).for_each(|n| market.publish(vec![tick("BTC", 10 + n, 1)]));
        market.publish(vec![tick("ETH", 6, 2)]);
        assert_eq!(prices(slow.next().await), [("BTC".into(), 109), ("ETH".into(), 6)]);
        assert!(slow.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_watch_of_an_empty_market_begins_empty() {
        let market = Market::default();
        let (mut early, _clock) = watch(&market, &[]);
        assert_eq!(early.next().await, Some(vec![]));
        market.publish(vec![tick("BTC", 10, 0)]);
        assert_eq!(prices(early.next().await), [("BTC".into(), 10)]);
    }

    #[tokio::test]
    async fn a_watch_ends_when_it_is_too_old_and_when_the_market_closes() {
        let market = Market::default();
        let (mut old, clock) = watch(&market, &[]);
        old.next().await.unwrap();
        let waiting = tokio::spawn(async move { old.next().await });
        tokio::task::yield_now().await;
        clock.advance(HOUR);
        assert_eq!(waiting.await.unwrap(), None);
        let (mut open, _clock) = watch(&market, &[]);
        open.next().await.unwrap();
        let waiting = tokio::spawn(async move { open.next().await });
        tokio::task::yield_now().await;
        market.close();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(watch(&market, &[]).0.next().await, None);
    }

    #[test]
    fn neither_an_old_tick_nor_a_senseless_one_replaces_a_price() {
        let market = Market::default();
        market.publish(vec![tick("BTC", 10, 5)]);
        let crossed = Tick { ask: 1, ..tick("BTC", 20, 9) };
        market.publish(vec![tick("BTC", 11, 4), tick("BTC", 0, 9), tick("BTC", -3, 9), crossed]);
        assert_eq!(market.tick("BTC"), Some(tick("BTC", 10, 5)));
        market.publish(vec![tick("BTC", 10, 6)]);
        assert_eq!(market.tick("BTC"), Some(tick("BTC", 10, 6)), "a confirmed price is young again");
    }

    #[test]
    fn a_caller_has_a_limit_of_watches_and_so_have_all_together() {
        crate::tests::install_contract();
        let watches = Watches::default();
        let first = watches.open("user:a", 2, 3).unwrap();
        let _second = watches.open("user:a", 2, 3).unwrap();
        let refused = watches.open("user:a", 2, 3).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("limit")), ("LIMIT_EXCEEDED", Some("2")));
        let _third = watches.open("user:b", 2, 3).unwrap();
        assert_eq!(watches.open("user:c", 2, 3).unwrap_err().metadata("limit"), Some("3"));
        drop(first);
        drop(watches.open("user:a", 2, 3).unwrap());
        assert!(watches.open("user:c", 2, 3).is_ok());
    }
}
