//! Where each workload listens. Shared by everyone who dials, and replaceable while they do.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

/// The addresses (`host:port`) of each workload's inbound sidecars. Clones share the same lists.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<Lists>);

#[derive(Default)]
struct Lists {
    version: AtomicU64,
    addresses: ArcSwap<HashMap<String, Arc<[String]>>>,
}

impl Endpoints {
    /// No addresses at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the addresses of a workload. New calls use the new ones; calls that are under way finish where they are.
    pub fn set(&self, workload: &str, addresses: impl IntoIterator<Item = String>) {
        let addresses: Arc<[String]> = addresses.into_iter().collect();
        self.0.addresses.rcu(|lists| {
            let mut lists = HashMap::clone(lists);
            lists.insert(workload.to_owned(), addresses.clone());
            lists
        });
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// The addresses of a workload.
    pub fn get(&self, workload: &str) -> Arc<[String]> {
        self.0.addresses.load().get(workload).cloned().unwrap_or_default()
    }

    /// Counts the changes.
    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }
}
