//! The log: what the services tell each other, in topics that are read by offset and never change. Its URL names the
//! broker; `sql:` keeps it in tables of a database that one process or many share.

use std::time::Duration;

use kit::{Clock, Error, Timestamp};
use tokio::sync::watch;

use crate::{
    db::{Db, Options, many::APPEND},
    error::unusable,
    event::Event,
    schema,
    session::Session,
    unit::Unit,
};

/// How long an appender that has gone silent keeps others out.
const LEASE: Duration = Duration::from_secs(2);

/// Refused: the appender's lease is someone else's by now.
pub(crate) const FENCED: &str = "LEASE_LOST";

/// The log of the platform. Clones share it.
#[derive(Clone)]
pub struct Log {
    db: Db,
}

/// The right to append for one source, until it expires or is taken over. The fence tells an old holder from a new one.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    name: String,
    holder: String,
    fence: i64,
}

impl Log {
    /// Opens `sql:sqlite:PATH` or `sql:postgres://…`.
    ///
    /// # Errors
    /// `DATABASE_UNUSABLE` with one clear sentence, see [`Db::open`].
    pub async fn open(url: &str, clock: Clock) -> Result<Self, Error> {
        let Some(url) = url.strip_prefix("sql:") else {
            return Err(unusable("The URL of the event log must begin with `sql:sqlite:` or `sql:postgres:`."));
        };
        // A process has one relay and a few followers: few connections leave PostgreSQL room for the contexts.
        let options = Options { pool: 4, ..Options::new("log", clock) };
        Ok(Self { db: Db::open_with(url, options, schema::LOG).await? })
    }

    /// The records of `topic` from offset `from` on, at most `limit`, in order.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn read(&self, topic: &str, from: i64, limit: i64) -> Result<Vec<Event>, Error> {
        const FROM: &str = "SELECT topic, log_offset, id, type, aggregate, sequence, time, trace, payload
            FROM log_records WHERE topic = $1 AND log_offset >= $2 ORDER BY log_offset LIMIT $3";
        let binds = [topic.into(), from.into(), limit.into()];
        let rows = self.db.read(async |session: &mut Session| session.rows(FROM, &binds).await).await?;
        rows.iter().map(|row| Event::read(row, 0)).collect()
    }

    /// The offset that the next record of `topic` will get.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn end(&self, topic: &str) -> Result<i64, Error> {
        const NEXT: &str = "SELECT next_offset FROM log_topics WHERE topic = $1";
        let row = self.db.read(async |session: &mut Session| session.row(NEXT, &[topic.into()]).await).await?;
        row.map_or(Ok(0), |row| row.int(0))
    }

    /// The tables behind the log: for its counters and its durability.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Changes when this process appended something: a hint, as [`Db::committed`] is.
    pub(crate) fn grown(&self) -> watch::Receiver<u64> {
        self.db.committed()
    }

    /// Takes the lease `name` for `holder` if it is free, expired or already theirs.
    pub(crate) async fn lease(&self, name: &str, holder: &str) -> Result<Option<Lease>, Error> {
        const TAKE: &str = "INSERT INTO leases (name, holder, fence, expires) VALUES ($1, $2, 1, $4)
            ON CONFLICT (name) DO UPDATE SET holder = $2, fence = leases.fence + 1, expires = $4
            WHERE leases.expires <= $3 OR leases.holder = $2 RETURNING fence";
        let taken = self
            .db
            .write(async |unit: &mut Unit| {
                let (now, until) = (unit.now(), unit.now() + LEASE);
                unit.row(TAKE, &[name.into(), holder.into(), now.into(), until.into()]).await
            })
            .await?;
        let fence = taken.map(|row| row.int(0)).transpose()?;
        Ok(fence.map(|fence| Lease { name: name.to_owned(), holder: holder.to_owned(), fence }))
    }

    /// Gives a lease up, so that the next holder need not wait.
    pub(crate) async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.db.write(async |unit: &mut Unit| hold(unit, lease, Timestamp::default()).await).await
    }

    /// Appends facts of one topic in their order, leaving out those that the topic has. All or nothing, and only for
    /// the holder of the lease, which this renews.
    pub(crate) async fn append(&self, lease: &Lease, topic: &str, facts: Vec<Event>) -> Result<(), Error> {
        if self.append_new(lease, topic, &facts).await? {
            return Ok(());
        }
        // Some are there already: an appender died before it could say so. Nobody else appends them now.
        let mut missing = Vec::new();
        for fact in facts {
            if !self.has(topic, &fact.id).await? {
                missing.push(fact);
            }
        }
        match self.append_new(lease, topic, &missing).await? {
            true => Ok(()),
            false => Err(crate::error::conflict()),
        }
    }

    /// Whether all facts were new; appends none otherwise.
    async fn append_new(&self, lease: &Lease, topic: &str, facts: &[Event]) -> Result<bool, Error> {
        const OPEN: &str = "INSERT INTO log_topics (topic, next_offset) VALUES ($1, 0) ON CONFLICT (topic) DO NOTHING";
        const NEXT: &str =
            "UPDATE log_topics SET next_offset = next_offset + $2 WHERE topic = $1 RETURNING next_offset";

        if facts.is_empty() {
            return Ok(true);
        }
        let count = i64::try_from(facts.len()).unwrap_or(i64::MAX);
        let appended = self
            .db
            .write(async |unit: &mut Unit| {
                let until = unit.now() + LEASE;
                hold(unit, lease, until).await?;
                let mut end = unit.row(NEXT, &[topic.into(), count.into()]).await?;
                if end.is_none() {
                    unit.exec(OPEN, &[topic.into()]).await?;
                    end = unit.row(NEXT, &[topic.into(), count.into()]).await?;
                }
                let end = end.map_or(Ok(count), |row| row.int(0))?;
                let rows = facts.iter().zip(end - count..).map(|(fact, offset)| {
                    let mut binds = fact.binds();
                    binds[1] = offset.into();
                    binds.to_vec()
                });
                let rows = rows.collect();
                match unit.exec_each(APPEND, rows).await? {
                    all if all == facts.len() as u64 => Ok(()),
                    _ => Err(Error::named(KNOWN, "Some of the facts are in the log already.")),
                }
            })
            .await;
        match appended {
            Ok(()) => Ok(true),
            Err(error) if error.reason() == KNOWN => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn has(&self, topic: &str, id: &str) -> Result<bool, Error> {
        const HAS: &str = "SELECT 1 FROM log_records WHERE topic = $1 AND id = $2";
        let binds = [topic.into(), id.into()];
        Ok(self.db.read(async |session: &mut Session| session.row(HAS, &binds).await).await?.is_some())
    }
}

/// Some facts of an append were in the log already. It never leaves this module.
const KNOWN: &str = "FACT_KNOWN";

/// Renews a lease inside a unit. Its row stays locked until the commit, so nobody takes it over in between.
async fn hold(unit: &mut Unit, lease: &Lease, until: Timestamp) -> Result<(), Error> {
    const HOLD: &str = "UPDATE leases SET expires = $4 WHERE name = $1 AND holder = $2 AND fence = $3";
    let binds = [(&lease.name).into(), (&lease.holder).into(), lease.fence.into(), until.into()];
    match unit.exec(HOLD, &binds).await? {
        0 => Err(Error::named(FENCED, "Someone else appends for this source by now.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::each_database;

    fn fact(id: &str, sequence: i64) -> Event {
        Event {
            id: id.to_owned(),
            topic: "counter-events".to_owned(),
            kind: "probe.CounterEvent".to_owned(),
            aggregate: "a".to_owned(),
            sequence,
            time: Timestamp::from_seconds(1),
            trace: String::new(),
            payload: vec![1],
            offset: 0,
        }
    }

    /// T-PAUSE.
    #[tokio::test]
    async fn an_appender_that_slept_through_its_lease_appends_nothing_when_it_wakes() {
        for database in each_database().await {
            let clock = Clock::manual(Timestamp::from_seconds(1_000));
            let log = Log::open(&database.log_url(), clock.clone()).await.unwrap();
            let asleep = log.lease("relay/probe", "one").await.unwrap().unwrap();
            assert!(log.lease("relay/probe", "two").await.unwrap().is_none());

            clock.advance(LEASE + Duration::from_secs(1));
            let awake = log.lease("relay/probe", "two").await.unwrap().unwrap();
            log.append(&awake, "counter-events", vec![fact("evt_1", 1)]).await.unwrap();

            let late = log.append(&asleep, "counter-events", vec![fact("evt_2", 2)]).await.unwrap_err();
            assert_eq!(late.reason(), FENCED);
            // Nor can it take the lease from its new holder by giving up its own.
            assert_eq!(log.release(&asleep).await.unwrap_err().reason(), FENCED);
            log.append(&awake, "counter-events", vec![fact("evt_2", 2), fact("evt_3", 3)]).await.unwrap();
            let records = log.read("counter-events", 0, 10).await.unwrap();
            let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
            assert_eq!(ids, ["evt_1", "evt_2", "evt_3"]);
        }
    }
}
