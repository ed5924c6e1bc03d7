//! Follows auth: which keys verify access tokens, and which sessions have ended.

use std::time::Duration;

use contracts::auth::v1::{WatchKeysAndRevocationsRequest, auth_service_client::AuthServiceClient};
use kit::{
    Call, Error, Timestamp,
    auth::{Keyring, KeysAndRevocations},
    drain::Draining,
    link::Link,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Three of auth's heartbeats: whoever says nothing for so long is not there.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Keeps `keyring` up to date until drained. While auth cannot be reached, the keys that are known go on verifying.
pub async fn follow(workload: String, auth: Link, keyring: Keyring, draining: Draining) {
    let mut pause = FIRST_PAUSE;
    while !draining.is_set() {
        let call = Call { deadline: None, ..Call::background(&workload, LONGEST_PAUSE) };
        let heard = || pause = FIRST_PAUSE;
        let watched = kit::call::run(call, watch(&auth, &keyring, heard));
        let ended = tokio::select! {
            ended = watched => ended,
            () = draining.wait() => return,
        };
        if let Err(error) = ended {
            tracing::info!(%error, workload, "auth cannot be followed; trying again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn watch(auth: &Link, keyring: &Keyring, mut heard: impl FnMut()) -> Result<(), Error> {
    let mut client = AuthServiceClient::new(auth.clone());
    let mut changes = client.watch_keys_and_revocations(WatchKeysAndRevocationsRequest {}).await?.into_inner();
    loop {
        let Ok(change) = tokio::time::timeout(SILENCE_MAX, changes.message()).await else {
            return Err(Error::named("DEPENDENCY_UNAVAILABLE", "auth has been silent for too long"));
        };
        let Some(change) = change? else { return Ok(()) };
        heard();
        let time = |time: Option<prost_types::Timestamp>| time.as_ref().map(Timestamp::from_proto);
        keyring.apply(KeysAndRevocations {
            snapshot: change.snapshot,
            keys: change.keys.into_iter().map(|key| (key.kid, key.x, time(key.expire_time))).collect(),
            revocations: change
                .revocations
                .into_iter()
                .map(|revoked| (revoked.session_id, time(revoked.expire_time).unwrap_or_default()))
                .collect(),
        });
    }
}
