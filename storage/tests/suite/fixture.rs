//! What every test of the suite starts from.

use std::sync::{Arc, Once};

use kit::{Clock, Timestamp};
use storage::{Bind, Db, Fact, Migration, Options, Unit, testing::Database};

/// The message of `tests/proto/probe.proto`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CounterEvent {
    #[prost(int64, tag = "1")]
    pub value: i64,
}

impl prost::Name for CounterEvent {
    const NAME: &'static str = "CounterEvent";
    const PACKAGE: &'static str = "probe";
}

pub const TOPIC: &str = "counter-events";

pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "counters",
    sql: "CREATE TABLE counters (
              id TEXT NOT NULL PRIMARY KEY,
              value BIGINT NOT NULL,
              CONSTRAINT counters_not_negative CHECK (value >= 0)
          );",
}];

pub fn options() -> Options {
    install_contract();
    Options { migrations: MIGRATIONS, ..Options::new("probe", Clock::system()) }
}

pub fn at(seconds: i64) -> Clock {
    Clock::manual(Timestamp::from_seconds(seconds))
}

pub async fn open(database: &Database) -> Db {
    Db::open(database.url(), options()).await.unwrap()
}

fn install_contract() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut compiler = protox::Compiler::new(["tests/proto", "../proto", "../third_party/proto"]).unwrap();
        compiler.include_imports(true);
        compiler.open_files(["probe.proto", "agora/type/v1/reason.proto"]).unwrap();
        let contract = kit::contract::Contract::parse(&compiler.encode_file_descriptor_set()).unwrap();
        kit::contract::install(Arc::new(contract));
    });
}

/// Adds `amount` to a counter and returns its value.
pub async fn add(unit: &mut Unit, id: &str, amount: i64) -> Result<i64, kit::Error> {
    let sql = "INSERT INTO counters (id, value) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET value = counters.value + $2 RETURNING value";
    unit.row(sql, &[id.into(), amount.into()]).await?.unwrap().int(0)
}

/// Adds one to a counter and tells it.
pub async fn count(unit: &mut Unit, id: &str) -> Result<i64, kit::Error> {
    let value = add(unit, id, 1).await?;
    unit.fact(&Fact { aggregate: id, sequence: value, message: &CounterEvent { value } })?;
    Ok(value)
}

pub async fn value(db: &Db, id: &str) -> i64 {
    number(db, "SELECT CAST(COALESCE(SUM(value), 0) AS BIGINT) FROM counters WHERE id = $1", &[id.into()]).await
}

pub async fn number(db: &Db, sql: &'static str, binds: &[Bind]) -> i64 {
    db.read(async |session| session.row(sql, binds).await?.unwrap().int(0)).await.unwrap()
}
