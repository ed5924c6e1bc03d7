//! One address of a workload: its connections, how busy it is, and whether it can be trusted with a call at present.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rand::Rng;
use tokio::time::Instant;

use crate::connection::{Connection, Dialer};

/// Calls at once on one connection. Below what the inbound side admits, so that none waits inside HTTP/2, where nobody
/// would see it.
pub(crate) const MAX_STREAMS: usize = 256;
/// Connections to one address. The second is opened when the first is full of (mostly long-lived) calls.
const MAX_CONNECTIONS: usize = 8;

/// After so many failures in a row an endpoint is left alone for a while.
const FAILURES: u32 = 5;
/// The first while; each further one is longer by as much.
const EJECTION: Duration = Duration::from_secs(5);
/// The longest while.
const LONGEST_EJECTION: Duration = Duration::from_secs(60);
/// The pause after a connection could not be opened: doubled each time, and a random part of it.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One address.
pub(crate) struct Endpoint {
    pub(crate) address: String,
    slots: [Slot; MAX_CONNECTIONS],
    in_flight: AtomicUsize,
    born: Instant,
    /// Not to be preferred before this, in microseconds since `born`.
    avoid_until: AtomicU64,
    failures: AtomicU32,
    ejections: AtomicU32,
    dialing: Mutex<Dialing>,
}

/// Room for a connection.
#[derive(Default)]
struct Slot {
    current: ArcSwapOption<Connection>,
    in_flight: AtomicUsize,
    opening: Arc<tokio::sync::Mutex<()>>,
}

/// How the last attempts to connect went.
#[derive(Default)]
struct Dialing {
    failures: u32,
    not_before: Option<Instant>,
    last: String,
}

impl Endpoint {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            slots: std::array::from_fn(|_| Slot::default()),
            in_flight: AtomicUsize::new(0),
            born: Instant::now(),
            avoid_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            dialing: Mutex::default(),
        }
    }

    /// Calls under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it may be preferred: neither ejected nor waiting to connect again.
    pub(crate) fn is_available(&self, now: Instant) -> bool {
        let until = self.avoid_until.load(Ordering::Relaxed);
        until == 0 || micros(now.saturating_duration_since(self.born)) >= until
    }

    /// Takes a place for a call on the first connection that has one.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let slot = self.slots.iter().position(|slot| {
            let free = slot.in_flight.fetch_add(1, Ordering::Relaxed) < MAX_STREAMS;
            if !free {
                slot.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            free
        })?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Lease { endpoint: self.clone(), slot })
    }

    /// A call was answered.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// A call broke, or was answered with UNAVAILABLE.
    pub(crate) fn failed(&self, now: Instant) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            // One more failure after the while ejects it again.
            self.failures.store(FAILURES - 1, Ordering::Relaxed);
            let times = self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            let pause = (EJECTION * times.min(100)).min(LONGEST_EJECTION);
            tracing::warn!(address = self.address, ?pause, "an endpoint fails; others are preferred for a while");
            self.avoid(now + pause);
        }
    }

    fn avoid(&self, until: Instant) {
        let until = micros(until.saturating_duration_since(self.born));
        self.avoid_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Opens the connection of a slot, unless that was done meanwhile or must wait. Runs by itself, so that a caller who
    /// goes away does not take the connection with it that others wait for.
    async fn open(self: Arc<Self>, slot: usize, dialer: Arc<Dialer>) -> Result<Arc<Connection>, String> {
        let slot = &self.slots[slot];
        let _one_at_a_time = slot.opening.lock().await;
        if let Some(open) = slot.current.load_full().filter(|open| !open.sender.is_closed() && !dialer.is_stale(open)) {
            return Ok(open);
        }
        self.may_dial()?;
        match dialer.dial(&self.address).await {
            Ok(connection) => {
                *self.dialing.lock().unwrap_or_else(PoisonError::into_inner) = Dialing::default();
                let connection = Arc::new(connection);
                // The old one, if any, closes when its last call has ended.
                slot.current.store(Some(connection.clone()));
                Ok(connection)
            }
            Err(what) => {
                self.dial_failed(&what);
                Err(what)
            }
        }
    }

    fn may_dial(&self) -> Result<(), String> {
        let dialing = self.dialing.lock().unwrap_or_else(PoisonError::into_inner);
        match dialing.not_before {
            Some(not_before) if Instant::now() < not_before => Err(dialing.last.clone()),
            _ => Ok(()),
        }
    }

    fn dial_failed(&self, what: &str) {
        let mut dialing = self.dialing.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = (FIRST_PAUSE * 2_u32.saturating_pow(dialing.failures.min(16))).min(LONGEST_PAUSE);
        let pause = longest.mul_f64(rand::rng().random_range(0.2..=1.0));
        dialing.failures = dialing.failures.saturating_add(1);
        let not_before = Instant::now() + pause;
        dialing.not_before = Some(not_before);
        what.clone_into(&mut dialing.last);
        self.avoid(not_before);
    }
}

/// A place for one call at an endpoint, given back when dropped.
pub(crate) struct Lease {
    endpoint: Arc<Endpoint>,
    slot: usize,
}

impl Lease {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The connection to call on: the open one, or a new one. A stale one is replaced in the background and serves
    /// meanwhile, so that no call waits for it.
    ///
    /// # Errors
    /// Why there is none, in words. Nothing was sent.
    pub(crate) async fn connection(&self, dialer: &Arc<Dialer>) -> Result<Arc<Connection>, String> {
        let slot = &self.endpoint.slots[self.slot];
        let open = slot.current.load_full().filter(|open| !open.sender.is_closed());
        match open {
            Some(open) if !dialer.is_stale(&open) => return Ok(open),
            Some(open) if slot.opening.try_lock().is_err() || self.endpoint.may_dial().is_err() => return Ok(open),
            _ => {}
        }
        let opening = tokio::spawn(self.endpoint.clone().open(self.slot, dialer.clone()));
        match open {
            Some(open) => Ok(open),
            None => opening.await.unwrap_or_else(|error| Err(error.to_string())),
        }
    }

    /// Never calls on this connection again: it is closing.
    pub(crate) fn discard(&self, connection: &Arc<Connection>) {
        let slot = &self.endpoint.slots[self.slot];
        let current = slot.current.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            slot.current.compare_and_swap(&current, None);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.slots[self.slot].in_flight.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
