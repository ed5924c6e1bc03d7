//! One version after another on the same data.

use std::{path::PathBuf, time::Duration};

use agora::services;
use anyhow::{Context, Result, ensure};
use kit::Clock;
use storage::{Db, Options, Session, Unit};

use crate::{
    client::Protocol,
    customers::Crowd,
    facts::every_fact_is_told_once,
    mortal::Mortal,
    platform::{Platform, Shape, binary},
    roles,
};

/// The demo warehouse ships at once what is confirmed.
const SHIPPING: [(&str, &str); 2] = [("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")];
/// How long a process may take to hand over.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// T-UPGRADE, the processes: of each service, two start at once on empty databases, and each is asked to end and replaced
/// while the other works and sagas are in flight, as a cluster does with a new version. Nobody is refused but by what may be
/// repeated, and nothing is lost. The first are of this build, unless `AGORA_EARLIER` names the binary of an earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_replaced_one_by_one_while_customers_are_served() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let replaced: Vec<&str> = services::SERVICES.iter().map(|service| service.name).collect();
    let first = std::env::var_os("AGORA_EARLIER").map_or_else(binary, PathBuf::from);
    let mut platform = roles::start_build(&first, folder.path(), &SHIPPING, &replaced).await?;
    let crowd = Crowd::gather(&platform.client(Protocol::Grpc)?, 8).await?;
    let processes = platform.processes();
    for number in 0..processes.len() {
        let process = &mut processes[number];
        if !replaced.contains(&process.name.as_str()) {
            continue;
        }
        process.signal("TERM")?;
        let status = tokio::task::block_in_place(|| process.wait(DRAIN_LIMIT))?;
        ensure!(status.success(), "{} ended with {status}", process.name);
        process.start_from_this_build()?;
        roles::ready(processes).await;
    }
    crowd.settle().await?;
    every_fact_is_told_once(&platform).await
}

/// What turns the tables of a service into those of an earlier version of it.
struct Before {
    service: &'static str,
    /// The version that the tables have now. Whoever adds one says here how it is taken back.
    now: i64,
    version: i64,
    statements: &'static [&'static str],
}

const BEFORE: &[Before] = &[
    Before {
        service: "order",
        now: 6,
        version: 4,
        statements: &[
            "ALTER TABLE shipments DROP COLUMN refusals",
            "DROP INDEX orders_to_close",
            "CREATE INDEX orders_to_close ON orders (close_time) WHERE close_time IS NOT NULL",
            "DROP INDEX orders_by_state",
        ],
    },
    Before {
        service: "payment",
        now: 4,
        version: 1,
        statements: &[
            "ALTER TABLE refunds DROP COLUMN automatic",
            "DROP INDEX simulator_cards_by_key",
            "ALTER TABLE simulator_cards DROP COLUMN key",
            "ALTER TABLE payment_methods DROP COLUMN refusal",
            "ALTER TABLE payment_methods DROP COLUMN state",
            "DROP INDEX payments_by_state",
        ],
    },
];

/// T-UPGRADE, the data: the tables of a platform that was killed at work are taken back to an earlier version. This one
/// brings them up to date when it starts, and carries on the sagas that it finds in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_in_tables_of_an_earlier_version_are_carried_on() -> Result<()> {
    let mut mortal = Mortal::start(Shape::Meshed, &SHIPPING).await?;
    let crowd = Crowd::gather(&mortal.client()?, 12).await?;
    mortal.arm("shipment-after-commit-stock")?;
    let died = mortal.death("shipment-after-commit-stock").await?;
    crowd.enough();
    ensure!(in_flight(&mortal.platform).await? > 0, "no saga is in flight");
    for before in BEFORE {
        take_back(&mortal.platform, before).await?;
    }
    mortal.start_again(died).await?;
    crowd.moved(mortal.client()?);
    crowd.settle().await?;
    every_fact_is_told_once(&mortal.platform).await
}

async fn tables(platform: &Platform, service: &str) -> Result<Db> {
    let service = services::find(service).context("a service")?;
    let options = Options { pool: 2, migrations: service.migrations, ..Options::new(service.name, Clock::system()) };
    Ok(Db::open(&platform.database(service.name), options).await?)
}

async fn in_flight(platform: &Platform) -> Result<i64> {
    const OPEN: &str = "SELECT COUNT(*) FROM orders WHERE saga_state IN ('RUNNING', 'COMPENSATING')";
    let db = tables(platform, "order").await?;
    let row = db.read(async |session: &mut Session| session.row(OPEN, &[]).await).await?;
    Ok(row.context("a number")?.int(0)?)
}

async fn take_back(platform: &Platform, before: &Before) -> Result<()> {
    const FORGET: &str = "DELETE FROM schema_migrations WHERE owner = $1 AND version > $2";
    let Before { service, now, version, statements } = before;
    let versions = i64::try_from(services::find(service).context("a service")?.migrations.len())?;
    ensure!(versions == *now, "{service} has {versions} migrations: say how those after {now} are taken back");
    let db = tables(platform, service).await?;
    let taken_back = db.write(async |unit: &mut Unit| {
        for statement in *statements {
            unit.exec(statement, &[]).await?;
        }
        unit.exec(FORGET, &[(*service).into(), (*version).into()]).await
    });
    let forgotten = taken_back.await?;
    ensure!(forgotten == u64::try_from(now - version)?, "{service}: {forgotten} versions are taken back");
    Ok(())
}
