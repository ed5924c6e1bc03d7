//! How a background task waits for work: woken by a hint of its own process, and by a look now and then, since other
//! processes give no hint.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// After a hint, how long to let more work come together.
const GATHER: Duration = Duration::from_millis(5);

/// The pauses between looks: short after work was found, then longer and longer.
pub(crate) struct Idle {
    pause: Duration,
    longest: Duration,
}

impl Idle {
    const SHORTEST: Duration = Duration::from_millis(20);

    pub(crate) fn new(longest: Duration) -> Self {
        Self { pause: Self::SHORTEST, longest }
    }

    /// Work was found: the next pause is short again.
    pub(crate) fn busy(&mut self) {
        self.pause = Self::SHORTEST;
    }

    /// Waits for the hint, or for the end of the pause.
    pub(crate) async fn wait(&mut self, hint: &mut watch::Receiver<u64>) {
        match timeout(self.pause, hint.changed()).await {
            Ok(Ok(())) => tokio::time::sleep(GATHER).await,
            // The sender is gone with its database, which ends this task too; until then the pause is kept.
            Ok(Err(_)) => tokio::time::sleep(self.pause).await,
            Err(_) => {}
        }
        self.pause = (self.pause * 2).min(self.longest);
    }
}
