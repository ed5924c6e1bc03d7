//! What auth does about the facts of others: a changed password ends every session that knew the old one.

use contracts::user::v1::{UserEvent, user_event};
use kit::Error;
use storage::{Event, Unit, consumer::Handler};

use crate::store;

/// The topics that auth follows.
pub const TOPICS: &[&str] = &["user-events"];

/// Reacts to the facts of others.
pub struct Reactions;

impl Handler for Reactions {
    async fn handle(&self, unit: &mut Unit, event: &Event) -> Result<(), Error> {
        let UserEvent { user_id, event: Some(fact) } = event.decode()? else { return Ok(()) };
        match fact {
            user_event::Event::PasswordChanged(_) => store::end_logins_before(unit, &user_id, event.time).await,
            user_event::Event::UserCreated(_) | user_event::Event::UserUpdated(_) => Ok(()),
        }
    }
}
