//! What the hot path needs to price a basket, kept in memory: variants, their prices of now and later, and promotions.
//! Every commit of this process empties it, and age does, since other replicas commit unheard. So a change shows at once
//! where it was made, and everywhere else within that age.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kit::{Error, Timestamp};
use storage::{Db, Session};
use tokio::sync::{Mutex, watch};

use crate::{
    purchase::{Offer, Promotion},
    store::prices,
};

/// No more variants than this are kept.
const OFFERS_MAX: usize = 20_000;

/// Prices and promotions of this moment. Clones of what it gives are cheap.
pub struct Shelf {
    committed: watch::Receiver<u64>,
    age_max: Duration,
    kept: Mutex<Kept>,
}

/// What goods cost and what is taken off, at one moment.
pub struct Seen {
    /// The variants that are known, of those asked for.
    pub offers: HashMap<String, Arc<Offer>>,
    /// The promotions that hold now or later.
    pub promotions: Arc<[Promotion]>,
}

#[derive(Default)]
struct Kept {
    /// The number of the last commit that this has seen, and when it began.
    commit: u64,
    since: Timestamp,
    offers: HashMap<String, Arc<Offer>>,
    promotions: Option<Arc<[Promotion]>>,
}

impl Shelf {
    /// A shelf in front of `db` that forgets after `age_max`.
    pub fn new(db: &Db, age_max: Duration) -> Self {
        Self { committed: db.committed(), age_max, kept: Mutex::default() }
    }

    /// Looks these variants up: in memory those that are there, the others with three statements at the most.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn look<'a>(&self, db: &Db, variants: impl Iterator<Item = &'a str>) -> Result<Seen, Error> {
        let variants: Vec<&str> = variants.collect();
        // Held while loading: those who want the same meanwhile wait for it instead of loading it, too.
        let mut kept = self.kept.lock().await;
        let now = db.clock().now();
        // Read before the rows are: a commit in between empties the shelf at the next look.
        kept.renew(*self.committed.borrow(), now, self.age_max);
        let missing: Vec<&str> = variants.iter().copied().filter(|id| !kept.offers.contains_key(*id)).collect();
        let without_promotions = kept.promotions.is_none();
        if !missing.is_empty() || without_promotions {
            let load = async |session: &mut Session| {
                let offers = if missing.is_empty() { vec![] } else { prices::offers(session, &missing, now).await? };
                let promotions = if without_promotions { Some(prices::promotions(session, now).await?) } else { None };
                Ok((offers, promotions))
            };
            let (offers, promotions) = db.snapshot(load).await?;
            if let Some(promotions) = promotions {
                kept.promotions = Some(promotions.into());
            }
            kept.offers.extend(offers.into_iter().map(|offer| (offer.variant_id.clone(), Arc::new(offer))));
        }
        let found = variants.into_iter().filter_map(|id| Some((id.to_owned(), kept.offers.get(id)?.clone())));
        Ok(Seen { offers: found.collect(), promotions: kept.promotions.clone().unwrap_or_default() })
    }
}

impl Kept {
    fn renew(&mut self, commit: u64, now: Timestamp, age_max: Duration) {
        if self.commit != commit || now.since(self.since) >= age_max || self.offers.len() > OFFERS_MAX {
            *self = Self { commit, since: now, ..Self::default() };
        }
    }
}
