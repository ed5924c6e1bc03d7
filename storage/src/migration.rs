//! Migrations: which tables a database has, and which it must have.

use kit::Error;
use sha2::{Digest, Sha256};

use crate::{error::unusable, unit::Unit};

/// A step that brings a database from one version to the next. Once released it is never changed.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1, 2, 3, …
    pub version: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// Statements that end in `;`, in the portable subset of both databases.
    pub sql: &'static str,
}

/// The tables of one owner: this crate, or the context.
pub(crate) type Schema = (&'static str, &'static [Migration]);

const APPLIED: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    owner TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (owner, version));";

/// Refused: there is nothing to apply, and so nothing to commit. It never leaves `Db::open`.
pub(crate) const UP_TO_DATE: &str = "UP_TO_DATE";

/// Applies what is missing, all in the unit that is open.
pub(crate) async fn apply(unit: &mut Unit, database: &str, schemas: &[Schema]) -> Result<(), Error> {
    unit.change_tables().await?;
    unit.batch(APPLIED).await?;
    let mut changed = false;
    for (owner, migrations) in schemas {
        let applied = unit
            .rows(
                "SELECT version, checksum FROM schema_migrations WHERE owner = $1 ORDER BY version",
                &[(*owner).into()],
            )
            .await?;
        let newest = migrations.iter().map(|migration| i64::from(migration.version)).max().unwrap_or(0);
        for row in &applied {
            let (version, checksum) = (row.int(0)?, row.text(1)?);
            if version > newest {
                return Err(unusable(format!(
                    "The database of {database} is of a newer version ({owner} {version}; this program knows {newest}). \
                     Start the newer program, or restore a backup from before the upgrade."
                )));
            }
            let known = migrations.iter().find(|migration| i64::from(migration.version) == version);
            if known.is_some_and(|migration| checksum != sum(migration)) {
                return Err(unusable(format!(
                    "The database of {database} was made by another form of migration {owner} {version} than this \
                     program has. Start the program that made it, or begin with an empty database."
                )));
            }
        }
        let done = applied.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        for migration in migrations.iter().filter(|migration| !done.contains(&migration.version.into())) {
            run(unit, owner, migration).await?;
            changed = true;
        }
    }
    if changed { Ok(()) } else { Err(Error::named(UP_TO_DATE, "The tables are up to date.")) }
}

async fn run(unit: &mut Unit, owner: &str, migration: &Migration) -> Result<(), Error> {
    unit.batch(migration.sql).await?;
    let now = unit.now();
    let binds =
        [owner.into(), i64::from(migration.version).into(), migration.name.into(), sum(migration).into(), now.into()];
    unit.exec(
        "INSERT INTO schema_migrations (owner, version, name, checksum, time) VALUES ($1, $2, $3, $4, $5)",
        &binds,
    )
    .await?;
    Ok(())
}

fn sum(migration: &Migration) -> String {
    let digest = Sha256::digest(migration.sql.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
