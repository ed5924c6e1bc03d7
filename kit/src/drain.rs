//! Ending in order: tell everyone to stop taking work, wait for what is in flight, give up after a limit.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The end that starts a drain.
#[derive(Clone, Debug)]
pub struct Drain {
    started: Arc<watch::Sender<bool>>,
    work: Arc<watch::Sender<()>>,
}

/// The end that learns of it. Clone it to whoever takes work.
#[derive(Clone, Debug)]
pub struct Draining {
    started: watch::Receiver<bool>,
    work: Arc<watch::Sender<()>>,
}

/// A piece of work that a drain waits for, until it is dropped.
#[derive(Debug)]
#[must_use = "the work counts as finished as soon as this is dropped"]
pub struct InFlight {
    // A channel knows how many receivers it has, and can wait for none.
    _receiver: watch::Receiver<()>,
}

impl Drain {
    /// A drain that has not started, and its other end.
    pub fn new() -> (Drain, Draining) {
        let drain = Drain { started: Arc::new(watch::Sender::new(false)), work: Arc::new(watch::Sender::new(())) };
        let draining = drain.draining();
        (drain, draining)
    }

    /// Another watcher.
    pub fn draining(&self) -> Draining {
        Draining { started: self.started.subscribe(), work: self.work.clone() }
    }

    /// Starts the drain. Starting it again changes nothing.
    pub fn start(&self) {
        self.started.send_replace(true);
    }

    /// Whether the drain has started.
    pub fn is_set(&self) -> bool {
        *self.started.borrow()
    }

    /// Waits until nothing is in flight, at most for `limit`. Gives back whether everything finished.
    pub async fn finished(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.work.closed()).await.is_ok()
    }
}

impl Draining {
    /// Waits for the start of the drain. If nobody is left who could start it, waits for ever.
    pub async fn wait(&self) {
        if self.started.clone().wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the drain has started.
    pub fn is_set(&self) -> bool {
        *self.started.borrow()
    }

    /// Counts a piece of work as in flight.
    pub fn in_flight(&self) -> InFlight {
        InFlight { _receiver: self.work.subscribe() }
    }
}

/// Starts the drain on SIGTERM or SIGINT, and ends the process at once on a second one.
///
/// # Errors
/// If the signal handlers cannot be installed.
pub fn on_signal(drain: Drain) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "finishing what is in flight; send the signal again to end at once");
        drain.start();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once");
        std::process::exit(130);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn every_watcher_learns_of_the_start_even_if_it_comes_late() {
        let (drain, draining) = Drain::new();
        assert!(!draining.is_set());
        let early = tokio::spawn({
            let draining = draining.clone();
            async move { draining.wait().await }
        });
        drain.start();
        drain.start();
        early.await.unwrap();
        draining.wait().await;
        drain.draining().wait().await;
        assert!(draining.is_set() && drain.is_set());
    }

    #[tokio::test]
    async fn a_drain_finishes_when_the_last_work_is_dropped() {
        let (drain, draining) = Drain::new();
        let (first, second) = (draining.in_flight(), draining.in_flight());
        assert!(!drain.finished(Duration::ZERO).await);
        drop(first);
        assert!(!drain.finished(Duration::ZERO).await);
        let waiting = tokio::spawn(async move { drain.finished(NOT_LONG).await });
        drop(second);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_drain_without_work_finishes_at_once() {
        let (drain, _draining) = Drain::new();
        assert!(drain.finished(NOT_LONG).await);
    }
}
