//! Passwords: hashed with argon2id, at a cost that is paid on a few threads of its own so that logins never starve the
//! rest of the process. Hashes of an older cost, and bcrypt's, are verified and replaced.

use std::{num::NonZero, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use contracts::r#type::v1::Reason;
use kit::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a hash costs. The default is OWASP's minimum for argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory: 19_456, passes: 2 }
    }
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is another.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right; its hash should be replaced by one of today's cost.
    RightButOutdated,
}

/// Computes and verifies hashes. Clones share the limit.
#[derive(Clone)]
pub struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    wait: Duration,
    /// The hash of no password: verified when an account does not exist, so that the answer takes as long.
    dummy: Arc<str>,
}

impl Hasher {
    /// A hasher that computes `at_once` hashes at a time, and lets callers wait for `wait`.
    ///
    /// # Errors
    /// `INTERNAL` if the cost is out of argon2's range.
    pub async fn new(cost: Cost, at_once: NonZero<usize>, wait: Duration) -> Result<Self, Error> {
        let params = Params::new(cost.memory, cost.passes, 1, None).map_err(Error::internal)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let turns = Arc::new(Semaphore::new(at_once.get()));
        let mut hasher = Self { argon2, turns, wait, dummy: "".into() };
        hasher.dummy = hasher.hash("no password at all").await?.into();
        Ok(hasher)
    }

    /// Hashes a password with a new salt. The result is a PHC string.
    ///
    /// # Errors
    /// `OVERLOADED` if too many others hash.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        self.compute(move || {
            let hash: PasswordHash = argon2.hash_password(password.as_bytes()).map_err(Error::internal)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Verifies a password against a hash. Without one, takes as long and finds it wrong.
    ///
    /// # Errors
    /// `OVERLOADED` if too many others hash.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<Verdict, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.dummy).to_owned();
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let verdict = self.compute(move || verify(&argon2, &password, &hash)).await?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    /// Runs `work` on a thread for blocking work when it is its turn. The turn ends with the work, even if nobody waits
    /// for the result any more: otherwise callers who hang up would lift the limit.
    async fn compute<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let turn = self.turn().await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(Error::internal)?
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        match tokio::time::timeout(self.wait, self.turns.clone().acquire_owned()).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => {
                let message = "Too many logins at this moment. Try again shortly.";
                Err(Error::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1)))
            }
        }
    }
}

fn verify(argon2: &Argon2<'_>, password: &str, hash: &str) -> Result<Verdict, Error> {
    if hash.starts_with("$2") {
        let right = bcrypt::verify(password, hash).map_err(Error::internal)?;
        return Ok(if right { Verdict::RightButOutdated } else { Verdict::Wrong });
    }
    let hash = PasswordHash::new(hash).map_err(Error::internal)?;
    match argon2.verify_password(password.as_bytes(), &hash) {
        Ok(()) if Params::try_from(&hash).is_ok_and(|params| cheaper(&params, argon2.params())) => {
            Ok(Verdict::RightButOutdated)
        }
        Ok(()) => Ok(Verdict::Right),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(Error::internal(error)),
    }
}

fn cheaper(params: &Params, than: &Params) -> bool {
    params.m_cost() < than.m_cost() || params.t_cost() < than.t_cost()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory: 64, passes: 1 };

    async fn hasher(cost: Cost) -> Hasher {
        Hasher::new(cost, NonZero::<usize>::MIN, Duration::from_secs(60)).await.unwrap()
    }

    #[tokio::test]
    async fn a_hash_says_its_cost_and_knows_its_password() {
        let hasher = hasher(Cost::default()).await;
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("correct horse").await.unwrap());
        assert_eq!(hasher.verify("correct horse", Some(&hash)).await.unwrap(), Verdict::Right);
        assert_eq!(hasher.verify("correct horses", Some(&hash)).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn an_older_or_cheaper_hash_is_right_but_outdated() {
        let hasher = hasher(Cost { passes: 2, ..CHEAP }).await;
        let bcrypt = bcrypt::hash("correct horse", 4).unwrap();
        let cheap = self::hasher(CHEAP).await.hash("correct horse").await.unwrap();
        for outdated in [bcrypt, cheap] {
            assert_eq!(hasher.verify("correct horse", Some(&outdated)).await.unwrap(), Verdict::RightButOutdated);
            assert_eq!(hasher.verify("wrong", Some(&outdated)).await.unwrap(), Verdict::Wrong);
        }
    }

    #[tokio::test]
    async fn without_an_account_every_password_is_wrong_even_the_dummys() {
        let hasher = hasher(CHEAP).await;
        assert_eq!(hasher.verify("no password at all", None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn who_cannot_have_a_turn_in_time_is_told_to_come_back() {
        crate::tests::install_contract();
        let hasher = Hasher { wait: Duration::from_millis(5), ..hasher(CHEAP).await };
        let _taken = hasher.turns.clone().acquire_owned().await.unwrap();
        assert_eq!(hasher.hash("x").await.unwrap_err().reason(), "OVERLOADED");
    }

    #[tokio::test]
    async fn a_hash_that_cannot_be_read_is_a_fault_of_ours() {
        crate::tests::install_contract();
        for broken in ["", "plain", "$2b$"] {
            assert_eq!(hasher(CHEAP).await.verify("x", Some(broken)).await.unwrap_err().reason(), "INTERNAL");
        }
    }
}
