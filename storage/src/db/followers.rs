//! Who in this process waits for the next change of one aggregate.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// Above how many aggregates those that nobody follows any more are looked for.
const CROWD: usize = 1_024;

/// The followers, by aggregate.
#[derive(Default)]
pub(crate) struct Followers(Mutex<HashMap<String, watch::Sender<()>>>);

impl Followers {
    /// Changes after the next commit of a unit with a step in the aggregate's history.
    pub(crate) fn follow(&self, aggregate: &str) -> watch::Receiver<()> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.len() > CROWD {
            followed.retain(|_, sender| sender.receiver_count() > 0);
        }
        followed.entry(aggregate.to_owned()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Tells whoever follows one of `aggregates`.
    pub(crate) fn tell(&self, aggregates: &[String]) {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.is_empty() {
            return;
        }
        for aggregate in aggregates {
            // An error: nobody follows it any more.
            if followed.get(aggregate).is_some_and(|sender| sender.send(()).is_err()) {
                followed.remove(aggregate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_whoever_follows_an_aggregate_is_told_of_it() {
        let followers = Followers::default();
        let (mut one, other) = (followers.follow("a"), followers.follow("b"));
        followers.tell(&["a".to_owned(), "c".to_owned()]);
        one.changed().await.unwrap();
        assert!(!other.has_changed().unwrap());
    }

    #[test]
    fn what_nobody_follows_any_more_is_forgotten() {
        let followers = Followers::default();
        drop(followers.follow("a"));
        followers.tell(&["a".to_owned()]);
        assert!(followers.0.lock().unwrap().is_empty());
        for number in 0..3 * CROWD {
            drop(followers.follow(&number.to_string()));
        }
        assert!(followers.0.lock().unwrap().len() <= CROWD + 1);
    }
}
