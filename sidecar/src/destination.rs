//! One workload as its callers see it: the endpoints that serve it, and which of them gets the next call.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use rand::Rng;
use tokio::time::Instant;

use crate::{
    budget::Budget,
    connection::Dialer,
    endpoint::{Endpoint, Lease},
    endpoints::Endpoints,
    meters::CallMeters,
};

/// A workload that is called.
pub(crate) struct Destination {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) budget: Budget,
    pub(crate) meters: CallMeters,
    endpoints: Endpoints,
    /// The version of `endpoints` that `pool` was made from, plus one.
    seen: AtomicU64,
    pool: ArcSwap<Vec<Arc<Endpoint>>>,
    changing: Mutex<()>,
}

/// Why a workload has no place for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Nobody said where it listens.
    Nowhere,
    /// Every connection of the endpoint is full.
    Full,
}

impl Destination {
    pub(crate) fn new(dialer: Dialer, endpoints: Endpoints, meters: CallMeters) -> Self {
        Self {
            dialer: Arc::new(dialer),
            budget: Budget::new(),
            meters,
            endpoints,
            seen: AtomicU64::new(0),
            pool: ArcSwap::default(),
            changing: Mutex::default(),
        }
    }

    pub(crate) fn workload(&self) -> &str {
        &self.dialer.workload
    }

    /// Takes a place for a call, preferably not at `avoid`, where the call has just failed.
    pub(crate) fn place(&self, avoid: Option<&Arc<Endpoint>>) -> Result<Lease, NoPlace> {
        if self.seen.load(Ordering::Acquire) != self.endpoints.version() + 1 {
            self.follow();
        }
        let pool = self.pool.load();
        choose(&pool, avoid, Instant::now()).ok_or(NoPlace::Nowhere)?.lease().ok_or(NoPlace::Full)
    }

    /// Takes over a changed list. An endpoint that stays keeps its connections and its record.
    fn follow(&self) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.endpoints.version() + 1;
        let old = self.pool.load();
        let addresses = self.endpoints.get(self.workload());
        let keep = |address: &String| {
            let known = old.iter().find(|endpoint| endpoint.address == *address);
            known.cloned().unwrap_or_else(|| Arc::new(Endpoint::new(address)))
        };
        if !old.iter().map(|endpoint| &endpoint.address).eq(addresses.iter()) {
            self.pool.store(Arc::new(addresses.iter().map(keep).collect()));
        }
        self.seen.store(version, Ordering::Release);
    }
}

/// Chooses the less busy of two random endpoints that are available and not the one to avoid. If there is none, of
/// those not to avoid; if there is none, of all: a workload is never without a choice while it has an endpoint.
fn choose<'a>(pool: &'a [Arc<Endpoint>], avoid: Option<&Arc<Endpoint>>, now: Instant) -> Option<&'a Arc<Endpoint>> {
    if let [only] = pool {
        return Some(only);
    }
    let other = |endpoint: &Arc<Endpoint>| !avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
    less_busy(pool, |endpoint| other(endpoint) && endpoint.is_available(now))
        .or_else(|| less_busy(pool, other))
        .or_else(|| less_busy(pool, |_| true))
}

fn less_busy(pool: &[Arc<Endpoint>], fits: impl Fn(&Arc<Endpoint>) -> bool) -> Option<&Arc<Endpoint>> {
    let fitting = || pool.iter().filter(|endpoint| fits(endpoint));
    let count = fitting().count();
    if count <= 1 {
        return fitting().next();
    }
    let mut random = rand::rng();
    let first = random.random_range(0..count);
    let second = (first + random.random_range(1..count)) % count;
    let (first, second) = (fitting().nth(first)?, fitting().nth(second)?);
    Some(if second.in_flight() < first.in_flight() { second } else { first })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pool(size: usize) -> Vec<Arc<Endpoint>> {
        (0..size).map(|port| Arc::new(Endpoint::new(&format!("127.0.0.1:{port}")))).collect()
    }

    fn choose<'a>(pool: &'a [Arc<Endpoint>], avoid: Option<&Arc<Endpoint>>) -> Option<&'a Arc<Endpoint>> {
        super::choose(pool, avoid, Instant::now())
    }

    fn index(pool: &[Arc<Endpoint>], chosen: Option<&Arc<Endpoint>>) -> usize {
        pool.iter().position(|endpoint| Arc::ptr_eq(endpoint, chosen.unwrap())).unwrap()
    }

    #[test]
    fn idle_endpoints_are_chosen_equally_often() {
        let pool = pool(3);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[index(&pool, choose(&pool, None))] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_busiest_endpoint_is_never_chosen() {
        let pool = pool(3);
        let _calls: Vec<_> = (0..5).map(|_| pool[1].lease().unwrap()).collect();
        assert!((0..1_000).all(|_| index(&pool, choose(&pool, None)) != 1));
    }

    #[test]
    fn a_retry_goes_elsewhere_if_there_is_an_elsewhere() {
        let two = pool(2);
        assert!((0..100).all(|_| index(&two, choose(&two, Some(&two[0]))) == 1));
        let one = pool(1);
        assert_eq!(index(&one, choose(&one, Some(&one[0]))), 0);
        assert!(choose(&[], None).is_none());
    }

    #[test]
    fn a_failing_endpoint_is_left_alone_for_a_while_and_then_tried_again() {
        let pool = pool(2);
        let start = Instant::now();
        let fail = |times: u32, now| (0..times).for_each(|_| pool[0].failed(now));
        fail(4, start);
        pool[0].succeeded();
        fail(4, start);
        assert!(pool[0].is_available(start), "an answer in between ends the row");
        fail(1, start);
        assert!((0..100).all(|_| index(&pool, super::choose(&pool, None, start)) == 1));
        let later = start + Duration::from_secs(6);
        assert!(pool[0].is_available(later));
        fail(1, later);
        assert!(!pool[0].is_available(later + Duration::from_secs(6)), "the second while is longer");
        assert!(pool[0].is_available(later + Duration::from_secs(11)));
    }

    #[test]
    fn endpoints_are_never_all_left_alone() {
        let pool = pool(3);
        let now = Instant::now();
        pool.iter().for_each(|endpoint| (0..5).for_each(|_| endpoint.failed(now)));
        assert!(super::choose(&pool, None, now).is_some());
    }

    #[test]
    fn an_endpoint_opens_another_connection_before_it_is_full() {
        let endpoint = Arc::new(Endpoint::new("127.0.0.1:1"));
        let mut calls = Vec::new();
        while let Some(call) = endpoint.lease() {
            calls.push(call);
        }
        assert_eq!(calls.len(), 8 * crate::endpoint::MAX_STREAMS);
        calls.pop();
        assert!(endpoint.lease().is_some());
    }
}
