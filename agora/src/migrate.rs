//! `agora migrate`: brings every database up to date and ends. Services do the same when they start; a deployment that
//! wants it done before calls this.

use anyhow::Result;
use clap::Args;
use kit::Clock;

use crate::{
    host::{Host, sentence},
    services::SERVICES,
    settings::Platform,
};

/// What `agora migrate` can be told.
#[derive(Args, Clone, Debug)]
pub struct Migrate {
    // The settings of the platform.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub platform: Platform,
}

/// Brings every database up to date, one after the other.
///
/// # Errors
/// The first database that cannot be, in a sentence.
pub async fn run(settings: Migrate) -> Result<()> {
    settings.platform.check_all().finish()?;
    let clock = Clock::system();
    let host = Host::new(settings.platform.clone(), clock.clone())?;
    for service in SERVICES {
        host.open(service).await?;
        println!("{:<10} up to date", service.name);
    }
    storage::Log::open(&settings.platform.events_url(), clock).await.map_err(sentence)?;
    println!("{:<10} up to date", "events");
    Ok(())
}
