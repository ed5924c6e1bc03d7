//! SIGKILL at named points, then a restart on the same data: nothing is lost, nothing happens twice.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Result;
use kit::Clock;
use serde_json::{Value, json};
use storage::Log;

use crate::{
    client::{Client, Protocol},
    people::Person,
    platform::{Platform, amount, eventually, key},
    repeats::settled,
};

/// How long a process may take to reach a point that it was told to die at.
const DEATH_LIMIT: Duration = Duration::from_secs(30);

/// A platform on a folder that is kept, and the file that arms its failpoints.
pub struct Mortal {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, &'static str)>,
    platform: Platform,
}

impl Mortal {
    fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts it with more settings, which it keeps over its deaths.
    pub fn start_with(settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let platform = Self::up(folder.path(), settings)?;
        Ok(Self { folder, settings: settings.to_vec(), platform })
    }

    fn up(folder: &Path, settings: &[(&str, &str)]) -> Result<Platform> {
        let armed = format!("@{}", folder.join("armed").display());
        let settings = [&[("AGORA_FAILPOINT", armed.as_str())], settings].concat();
        Platform::one_process(&folder.join("data"), &[], &settings)
    }

    pub fn client(&self) -> Result<Client> {
        self.platform.client(Protocol::Grpc)
    }

    /// Does `work` while the process is told to die at `point`, waits for its death, and starts it again.
    pub async fn die_at<T>(&mut self, point: &str, work: impl Future<Output = T> + Send + 'static) -> Result<()>
    where
        T: Send + 'static,
    {
        let armed = self.folder.path().join("armed");
        std::fs::write(&armed, format!("{point}=kill"))?;
        // Nobody answers for a process that dies: the work is left behind.
        let work = tokio::spawn(work);
        let status = tokio::task::block_in_place(|| self.platform.processes()[0].wait(DEATH_LIMIT))?;
        work.abort();
        std::fs::remove_file(&armed)?;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}: {status}");
        self.platform = Self::up(self.folder.path(), &self.settings)?;
        Ok(())
    }

    async fn order_sequences(&self) -> Result<BTreeMap<String, Vec<i64>>> {
        let url = format!("sql:sqlite:{}", self.platform.data.join("events.db").display());
        let log = Log::open(&url, Clock::system()).await?;
        let mut sequences = BTreeMap::<String, Vec<i64>>::new();
        let mut from = 0;
        loop {
            let events = log.read("order-events", from, 500).await?;
            let Some(last) = events.last() else { return Ok(sequences) };
            from = last.offset + 1;
            for event in events {
                sequences.entry(event.aggregate).or_default().push(event.sequence);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_survives_a_kill_at_every_point_of_its_way() -> Result<()> {
    let mut mortal = Mortal::start()?;
    let person = Person::with_money(&mortal.client()?, "10000").await?;
    let points = [
        "order/before-commit",
        "order/after-commit",
        "ledger/before-commit",
        "ledger/after-commit",
        "order-after-ledger",
        "order/relay-after-append",
    ];
    for (done, point) in points.iter().enumerate() {
        let trade = json!({"side": "SIDE_BUY", "quantity": amount("0.001", "BTC")});
        let request = json!({"requestId": key(), "marketTrade": trade});
        let caller = person.on(&mortal.client()?);
        mortal.die_at(point, order(caller, request.clone())).await?;

        let caller = person.on(&mortal.client()?);
        let answer = eventually("the repeated request is answered", async || {
            let answer = caller.call("order.v1.OrderService/CreateOrder", request.clone()).await;
            match answer {
                Ok(reply) => Some(reply),
                Err(refusal) if refusal.code == tonic::Code::Aborted || refusal.code == tonic::Code::Unavailable => {
                    None
                }
                Err(refusal) => panic!("{point}: {refusal}"),
            }
        })
        .await;
        assert_eq!(answer["order"]["state"], "STATE_FULFILLED", "{point}: {answer}");
        let expected = format!("0.00{}", done + 1);
        assert_eq!(caller.available("BTC").await?, expected, "{point}: one trade per request");
    }
    settled(&mortal.client()?).await?;
    facts_are_whole(&mortal, points.len()).await
}

async fn order(caller: Person, request: Value) -> Result<Value, crate::client::Refused> {
    caller.call("order.v1.OrderService/CreateOrder", request).await
}

/// Every fact of every order is in the log once, numbered without a gap.
async fn facts_are_whole(mortal: &Mortal, orders: usize) -> Result<()> {
    let sequences = eventually("every fact is in the log", async || {
        let sequences = mortal.order_sequences().await.ok()?;
        let whole = |numbers: &Vec<i64>| numbers.len() >= 3;
        (sequences.len() == orders && sequences.values().all(whole)).then_some(sequences)
    })
    .await;
    for (order, numbers) in sequences {
        let expected: Vec<i64> = (1..=i64::try_from(numbers.len())?).collect();
        assert_eq!(numbers, expected, "{order}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_reaches_its_follower_though_the_follower_is_killed_over_it() -> Result<()> {
    let mut mortal = Mortal::start()?;
    let person = Person::register(&mortal.client()?).await?;
    let request = json!({"currentPassword": person.password, "newPassword": "another long password"});
    let (caller, first) = (person.on(&mortal.client()?), request.clone());
    mortal
        .die_at(
            "auth/consumer-before-commit",
            async move { caller.call("user.v1.UserService/ChangePassword", first).await },
        )
        .await?;
    let caller = person.on(&mortal.client()?);
    eventually("the old session has ended", async || {
        // The follower may have died over the fact of the registration, before the password was changed: then this is
        // the first change, otherwise it is refused.
        let _ = caller.call("user.v1.UserService/ChangePassword", request.clone()).await;
        let refused = caller.call("user.v1.UserService/GetUser", json!({})).await.err()?;
        (refused.reason == "TOKEN_REVOKED").then_some(())
    })
    .await;
    Person::login(&mortal.client()?, &person.email, "another long password").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_asked_to_end_finishes_what_is_under_way() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut platform = Platform::one_process(&folder.path().join("data"), &[], &[])?;
    let person = Person::with_money(&platform.client(Protocol::Rest)?, "1000").await?;
    let trades: Vec<_> = (0..20)
        .map(|_| {
            let person = person.clone();
            tokio::spawn(async move { person.trade("SIDE_BUY", "0.0001", "BTC").await })
        })
        .collect();
    let first = futures::future::select_all(trades).await;
    let mut answered = vec![first.0??["order"]["id"].clone()];
    let process = platform.process_id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &process]).status()?.success());
    let status = tokio::task::block_in_place(|| platform.processes()[0].wait(DEATH_LIMIT))?;
    assert!(status.success(), "{status}");
    for trade in first.2 {
        // What was accepted is answered; what came too late finds no one, and is not there afterwards.
        match trade.await {
            Ok(Ok(order)) => {
                assert_eq!(order["order"]["state"], "STATE_FULFILLED");
                answered.push(order["order"]["id"].clone());
            }
            Ok(Err(refusal)) => assert_eq!(refusal.code, tonic::Code::Unavailable, "{refusal}"),
            Err(late) => assert!(late.is_panic(), "the connection was closed: {late}"),
        }
    }
    let platform = Platform::one_process(&folder.path().join("data"), &[], &[])?;
    let person = person.on(&platform.client(Protocol::Rest)?);
    let listed = person.call("order.v1.OrderService/ListOrders", json!({"pageSize": 200})).await?;
    let mut kept: Vec<&Value> = listed["orders"].as_array().unwrap().iter().map(|order| &order["id"]).collect();
    let mut answered: Vec<&Value> = answered.iter().collect();
    for ids in [&mut kept, &mut answered] {
        ids.sort_unstable_by_key(|id| id.to_string());
    }
    assert_eq!(kept, answered, "what was answered is kept, and nothing was begun that was not");
    Ok(())
}
