//! How often one caller may call one RPC: a bucket for each pair, which empties by one a call and refills steadily.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::HeaderMap;
use kit::{
    Caller, Error,
    contract::{Contract, Method, RateLimit},
};

/// Full buckets are thrown away every so many calls.
const SWEEP_EVERY: u32 = 4096;
/// Buckets of one RPC. Whoever comes beyond them shares one.
const BUCKETS_MAX: usize = 100_000;

type Limiter = RateLimiter<String, DashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// The buckets of every RPC.
pub struct Limits {
    clock: DefaultClock,
    by_method: HashMap<String, (RateLimit, Limiter)>,
    calls: AtomicU32,
}

/// What is left of a caller's allowance.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    limit: RateLimit,
    left: u32,
}

impl Limits {
    /// Limits by the policies of a contract, and by `default` where they say nothing.
    pub fn new(contract: &Contract, default: RateLimit) -> Limits {
        let clock = DefaultClock::default();
        let limiter = |method: &Method| {
            let limit = method.policy.rate_limit.unwrap_or(default);
            Some((method.path.clone(), (limit, RateLimiter::keyed(quota(limit)?).with_middleware())))
        };
        let by_method = contract.methods().filter_map(|method| limiter(method)).collect();
        Limits { clock, by_method, calls: AtomicU32::new(0) }
    }

    /// Takes one call from the allowance of `caller`, or of the client's address if nobody is logged in.
    ///
    /// # Errors
    /// `RATE_LIMITED`, with the time until the next call is allowed.
    pub fn take(&self, method: &Method, caller: Option<&Caller>, client: IpAddr) -> Result<Option<Allowance>, Error> {
        let Some((limit, limiter)) = self.by_method.get(&method.path) else { return Ok(None) };
        let key = caller.map_or_else(|| address(client), |caller| caller.user.clone());
        let key = if self.sweep(limiter) { key } else { "others".to_owned() };
        match limiter.check_key(&key) {
            Ok(state) => Ok(Some(Allowance { limit: *limit, left: state.remaining_burst_capacity() })),
            Err(until) => Err(self.refuse(method, *limit, &until)),
        }
    }

    /// Now and then throws full buckets away; false if there are too many even so.
    fn sweep(&self, limiter: &Limiter) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            limiter.retain_recent();
        }
        limiter.len() < BUCKETS_MAX
    }

    fn refuse(&self, method: &Method, limit: RateLimit, until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Error {
        let wait = until.wait_time_from(self.clock.now());
        let message = format!(
            "{} may be called {} times in {} s. Wait {} s.",
            method.name,
            limit.requests,
            limit.per.as_secs(),
            crate::errors::seconds_up(wait)
        );
        Error::named("RATE_LIMITED", message).with("limit", limit.requests.to_string()).retry_after(wait)
    }
}

fn quota(limit: RateLimit) -> Option<Quota> {
    let requests = NonZeroU32::new(limit.requests)?;
    Some(Quota::with_period(limit.per.checked_div(limit.requests)?)?.allow_burst(requests))
}

/// One address of IPv4; of IPv6 the network, of which anyone has 2^64 addresses.
fn address(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

impl Allowance {
    /// Adds `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
    pub fn put(&self, headers: &mut HeaderMap) {
        let window = self.limit.per.as_secs().max(1);
        let used = self.limit.requests.saturating_sub(self.left);
        let refill = self.limit.per.checked_div(self.limit.requests).unwrap_or(Duration::ZERO) * used;
        let policy = format!("\"rpc\";q={};w={window}", self.limit.requests);
        let state = format!("\"rpc\";r={};t={}", self.left, refill.as_secs());
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = text.parse() {
                headers.insert(name, value);
            }
        }
    }
}
