//! Who this workload is: a key that never leaves memory, and its current certificate, renewed at half its life.
//!
//! A renewal changes nothing for connections that are open: they go on with the certificate they began with, and are
//! replaced before it expires (see [`crate::pool`] and [`crate::inbound`]). While the authority is away, the old
//! certificate serves for as long as it is valid.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rand::Rng;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::Notify;

use crate::{
    Error,
    ca::{Issued, LocalCa},
    ca_client::CaClient,
    spiffe::{Holder, SpiffeId, holder},
};

/// How long a start waits for an authority that is not up yet.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// The first pause after a failed renewal, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where certificates come from.
#[derive(Clone)]
pub enum Source {
    /// An authority in this process.
    Local(Arc<LocalCa>),
    /// An authority in a process of its own.
    Remote(Arc<CaClient>),
}

impl Source {
    fn trust_domain(&self) -> &str {
        match self {
            Self::Local(ca) => ca.trust_domain(),
            Self::Remote(client) => client.trust_domain(),
        }
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        match self {
            Self::Local(ca) => ca.roots(),
            Self::Remote(client) => Ok(client.roots()),
        }
    }

    async fn sign(&self, workload: &str, request: &[u8]) -> Result<Issued, Error> {
        match self {
            Self::Local(ca) => ca.issue(workload, request),
            Self::Remote(client) => client.sign(workload, request).await,
        }
    }
}

/// A workload's identity. Clones are the same identity; renewal ends when the last one is dropped.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    id: SpiffeId,
    source: Source,
    roots: Arc<RootCertStore>,
    current: ArcSwap<Held>,
    renewed: Notify,
}

/// A certificate that is in use.
struct Held {
    key: Arc<CertifiedKey>,
    issued: SystemTime,
    not_after: SystemTime,
    /// Counts renewals.
    generation: u64,
}

impl Identity {
    /// Asks `source` for the first certificate of `workload`, waiting a while for an authority that is not up yet, and
    /// keeps it fresh from then on.
    ///
    /// # Errors
    /// If the authority refuses, or stays away for 30 seconds.
    pub async fn obtain(workload: &str, source: Source) -> Result<Self, Error> {
        let id = SpiffeId::new(source.trust_domain(), workload)?;
        let roots = source.roots()?;
        let give_up = tokio::time::Instant::now() + JOIN_PATIENCE;
        let mut pause = FIRST_PAUSE;
        let held = loop {
            match request(&id, &source, 0).await {
                Ok(held) => break held,
                Err(error @ Error::Io { .. }) if tokio::time::Instant::now() < give_up => {
                    tracing::info!(%error, workload, "waiting for the certificate authority");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error),
            }
        };
        let inner = Arc::new(Inner { id, source, roots, current: ArcSwap::from_pointee(held), renewed: Notify::new() });
        tokio::spawn(keep_fresh(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The workload's name.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// When the current certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.0.current.load().not_after
    }

    /// How often the certificate was renewed.
    pub fn renewals(&self) -> u64 {
        self.0.current.load().generation
    }

    /// Waits for the next renewal.
    pub async fn renewed(&self) {
        self.0.renewed.notified().await;
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.0.roots.clone()
    }

    pub(crate) fn resolver(&self) -> Arc<Resolver> {
        Arc::new(Resolver(self.clone()))
    }
}

/// Shows the current certificate at each handshake.
pub(crate) struct Resolver(Identity);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {}", self.0.id())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.0.current.load().key.clone())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.0.current.load().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Makes a key and gets a certificate for it.
async fn request(id: &SpiffeId, source: &Source, generation: u64) -> Result<Held, Error> {
    let issued = SystemTime::now();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let signing_request = CertificateParams::default().serialize_request(&key)?;
    let Issued { chain } = source.sign(id.workload(), signing_request.der()).await?;
    let leaf = chain.first().ok_or_else(|| Error::Certificate("the authority sent no certificate".into()))?;
    let Holder { id: named, not_after } = holder(leaf).map_err(|error| Error::Certificate(error.to_string()))?;
    if named != *id {
        return Err(Error::Certificate(format!("the authority sent a certificate of {named} instead of {id}")));
    }
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::new(chain, any_ecdsa_type(&private)?);
    certified.keys_match()?;
    Ok(Held { key: Arc::new(certified), issued, not_after, generation })
}

/// Renews at half life for as long as the identity is in use.
async fn keep_fresh(identity: Weak<Inner>) {
    let mut failures = 0;
    loop {
        let wait = {
            let Some(inner) = identity.upgrade() else { return };
            let held = inner.current.load();
            if failures == 0 { until_renewal(&held) } else { pause(&held, failures) }
        };
        tokio::time::sleep(wait).await;
        let Some(inner) = identity.upgrade() else { return };
        // A machine that was suspended slept longer or shorter than asked, so the clock on the wall decides.
        if failures == 0 && until_renewal(&inner.current.load()) > Duration::from_millis(10) {
            continue;
        }
        let generation = inner.current.load().generation + 1;
        match request(&inner.id, &inner.source, generation).await {
            Ok(held) => {
                tracing::debug!(workload = inner.id.workload(), generation, "renewed the certificate");
                inner.current.store(Arc::new(held));
                inner.renewed.notify_waiters();
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                let left = remaining(inner.current.load().not_after);
                tracing::warn!(workload = inner.id.workload(), %error, ?left, "cannot renew the certificate");
            }
        }
    }
}

/// The time until half of the certificate's life is over, a minute at most so that the wall clock is looked at.
fn until_renewal(held: &Held) -> Duration {
    let life = held.not_after.duration_since(held.issued).unwrap_or_default();
    remaining(held.issued + life / 2).min(Duration::from_secs(60))
}

/// How long to wait after failed renewals: longer each time, but several tries fit into what is left.
fn pause(held: &Held, failures: u32) -> Duration {
    let longest = (remaining(held.not_after) / 8).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    jittered((FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16))).min(longest))
}

fn remaining(until: SystemTime) -> Duration {
    until.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Between half of the pause and all of it, so that workloads do not ask in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
