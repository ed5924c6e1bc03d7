//! `agora grant`: gives a role to someone who has an account. It writes to the databases itself, so that whoever operates a
//! platform can name its first admin, and nobody who only calls it can.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use kit::Clock;

use crate::{
    host::{Host, sentence},
    services,
    settings::Platform,
};

/// What `agora grant` can be told.
#[derive(Args, Clone, Debug)]
pub struct Grant {
    // The settings of the platform.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub platform: Platform,
    /// Whose account: the email that it was registered with
    #[arg(value_name = "EMAIL")]
    pub email: String,
    /// Which role, beside those that the account has
    #[arg(value_name = "ROLE", value_parser = ["support", "admin"])]
    pub role: String,
}

/// Gives the role, also while the platform runs.
///
/// # Errors
/// If nobody has an account with this email, or a database cannot be opened.
pub async fn run(settings: Grant) -> Result<()> {
    let Grant { platform, email, role } = settings;
    platform.check_all().finish()?;
    if let Some(file) = platform.database_of("user").strip_prefix("sqlite:") {
        // Otherwise it would be made, with nobody in it.
        ensure!(
            Path::new(file).exists(),
            "there is no {file}: give the settings that the platform runs with, such as `--data-dir`"
        );
    }
    let host = Host::new(platform, Clock::system())?;
    let open = async |name| {
        let service = services::find(name).context("there is no such service")?;
        host.open(service).await
    };
    let user_id = user::id_of(&open("user").await?, &email).await.map_err(sentence)?;
    let user_id = user_id.with_context(|| {
        format!("nobody has registered as `{email}` with this platform; others need settings such as `--data-dir`")
    })?;
    match auth::grant(&open("auth").await?, &user_id, &[&role]).await.map_err(sentence)? {
        true => {
            tracing::info!(user_id, role, "a role was granted");
            println!("{email} ({user_id}) is {role} from the next login on; logins from before have ended");
        }
        false => println!("{email} ({user_id}) is {role} already"),
    }
    Ok(())
}
