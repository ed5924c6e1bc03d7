//! A platform that a test kills: its data is kept, a file arms its failpoints, and what has died is started again.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    client::{Client, Protocol},
    platform::{Platform, Shape},
    roles,
};

/// How long a process may take to reach a point that it was told to die at.
const DEATH_LIMIT: Duration = Duration::from_secs(60);

/// A platform on a folder that is kept, and the file that arms its failpoints.
pub struct Mortal {
    pub platform: Platform,
    settings: Vec<(String, String)>,
    shape: Shape,
    folder: tempfile::TempDir,
}

impl Mortal {
    /// Starts it with these settings, which it keeps over its deaths.
    pub async fn start(shape: Shape, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let armed = format!("@{}", folder.path().join("armed").display());
        let settings = [&[("AGORA_FAILPOINT", armed.as_str())], settings].concat();
        let data = folder.path().join("data");
        let platform = match shape {
            Shape::Roles => roles::start(&data, &settings, &[]).await?,
            Shape::Meshed => Platform::one_process(&data, &[], &settings)?,
            Shape::Direct => Platform::one_process(&data, &["--direct"], &settings)?,
        };
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { platform, settings, shape, folder })
    }

    /// A caller. It speaks to the platform as it runs now: one process has another address after each death.
    pub fn client(&self) -> Result<Client> {
        self.platform.client(Protocol::Grpc)
    }

    /// Does `work` while the process is told to die at `point`, waits for its death, and starts it again.
    pub async fn die_at<T>(&mut self, point: &str, work: impl Future<Output = T> + Send + 'static) -> Result<()>
    where
        T: Send + 'static,
    {
        self.arm(point)?;
        // Nobody answers for a process that dies: the work is left behind.
        let work = tokio::spawn(work);
        let died = self.death(point).await?;
        work.abort();
        self.start_again(died).await
    }

    /// Tells whoever comes to `point` next to die there.
    pub fn arm(&self, point: &str) -> Result<()> {
        // In one move: a process that looks meanwhile sees all of it or nothing.
        let next = self.folder.path().join("next");
        std::fs::write(&next, format!("{point}=kill"))?;
        Ok(std::fs::rename(next, self.folder.path().join("armed"))?)
    }

    /// Waits until a process has died at the point it was told to. Gives back which.
    pub async fn death(&mut self, point: &str) -> Result<usize> {
        let deadline = Instant::now() + DEATH_LIMIT;
        loop {
            for (number, process) in self.platform.processes().iter_mut().enumerate() {
                if let Some(status) = process.ended()? {
                    ensure!(status.signal() == Some(9), "{point}: {} ended with {status}", process.name);
                    std::fs::remove_file(self.folder.path().join("armed"))?;
                    return Ok(number);
                }
            }
            ensure!(Instant::now() < deadline, "nobody came to {point} within {DEATH_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts what has died again, and waits until it answers.
    pub async fn start_again(&mut self, died: usize) -> Result<()> {
        if self.shape == Shape::Roles {
            let processes = self.platform.processes();
            processes[died].start_again()?;
            roles::ready(processes).await;
            return Ok(());
        }
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let arguments: &[&str] = if self.shape == Shape::Direct { &["--direct"] } else { &[] };
        self.platform = Platform::one_process(&self.folder.path().join("data"), arguments, &settings)?;
        Ok(())
    }
}
