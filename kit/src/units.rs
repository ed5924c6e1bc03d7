//! The scales of units, asked once from whoever owns them and kept, since a unit's scale never changes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::Error;

/// How long an unknown unit stays unknown before it is asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// Something that amounts are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// How many decimals its smallest part has.
    pub scale: u8,
    /// Whether it is a currency.
    pub fiat: bool,
}

type Loader = dyn Fn() -> BoxFuture<'static, Result<HashMap<String, Unit>, Error>> + Send + Sync;

/// The units that this service has met. Clones share what they know.
#[derive(Clone)]
pub struct Units(Arc<Inner>);

struct Inner {
    known: ArcSwap<HashMap<String, Unit>>,
    asked: Mutex<Option<Instant>>,
    loader: Box<Loader>,
}

impl Units {
    /// Units that `loader` lists, all of them at each call.
    pub fn new(
        loader: impl Fn() -> BoxFuture<'static, Result<HashMap<String, Unit>, Error>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { known: ArcSwap::default(), asked: Mutex::new(None), loader: Box::new(loader) }))
    }

    /// The unit with this code.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if there is none, or what the loader failed with.
    pub async fn get(&self, code: &str) -> Result<Unit, Error> {
        if let Some(unit) = self.0.known.load().get(code) {
            return Ok(*unit);
        }
        self.load(code).await?;
        self.0.known.load().get(code).copied().ok_or_else(|| {
            let code: String = code.chars().take(20).collect();
            let message = format!("There is no unit `{code}`. The list of units names them all.");
            Error::named("UNIT_MISMATCH", message).with("unit", code)
        })
    }

    async fn load(&self, code: &str) -> Result<(), Error> {
        let mut asked = self.0.asked.lock().await;
        let fresh = asked.is_some_and(|at| at.elapsed() < UNKNOWN_FOR);
        if fresh || self.0.known.load().contains_key(code) {
            return Ok(());
        }
        self.0.known.store(Arc::new((self.0.loader)().await?));
        *asked = Some(Instant::now());
        Ok(())
    }
}
