//! Idempotency keys: an effect happens once, and every repeat gets the same answer.

use futures::future::join_all;
use kit::{Error, Timestamp};
use storage::{Begun, Key, Unit, idempotency, testing::each_database};

use crate::fixture::{CounterEvent, add, at, number, open, options, value};

const KEYS: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM idempotency_keys";

fn key(request_id: &str, request: i64) -> Option<Key> {
    Key::new("user:usr_1", "/probe.Counters/Add", request_id, &CounterEvent { value: request })
}

async fn add_one(unit: &mut Unit) -> Result<CounterEvent, Error> {
    Ok(CounterEvent { value: add(unit, "a", 1).await? })
}

/// T-IDEM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_at_once_have_one_effect() {
    for database in each_database().await {
        let db = open(&database).await;
        let requests = (0..50).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.once(key("r1", 1), add_one).await })
        });
        let mut answered = 0;
        for result in join_all(requests).await {
            match result.unwrap() {
                Ok(reply) => {
                    assert_eq!(reply.value, 1);
                    answered += 1;
                }
                Err(error) => assert_eq!(error.reason(), "REQUEST_IN_PROGRESS"),
            }
        }
        assert!(answered > 0);
        assert_eq!(value(&db, "a").await, 1);
        assert_eq!(db.once(key("r1", 1), add_one).await.unwrap().value, 1);
    }
}

#[tokio::test]
async fn without_a_request_id_every_repeat_is_a_new_request() {
    for database in each_database().await {
        let db = open(&database).await;
        for expected in 1..=3 {
            assert_eq!(db.once(key("", 1), add_one).await.unwrap().value, expected);
        }
        assert_eq!(number(&db, KEYS, &[]).await, 0);
    }
}

/// T-IDEM.
#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    for database in each_database().await {
        let db = open(&database).await;
        db.once(key("r1", 1), add_one).await.unwrap();
        let reused = db.once(key("r1", 2), add_one).await.unwrap_err();
        assert_eq!(reused.reason(), "IDEMPOTENCY_KEY_REUSED");
        let other = Key { principal: "user:usr_2".to_owned(), ..key("r1", 1).unwrap() };
        assert_eq!(db.once(Some(other), add_one).await.unwrap().value, 2);
    }
}

#[tokio::test]
async fn a_refusal_is_stored_and_a_fault_is_not() {
    for database in each_database().await {
        let db = open(&database).await;
        let refuse = async |unit: &mut Unit, reason: &str| {
            add_one(unit).await?;
            Err::<CounterEvent, _>(Error::named(reason, "No.").with("available", "3"))
        };
        let refused = db.once(key("r1", 1), async |unit| refuse(unit, "INSUFFICIENT_FUNDS").await).await.unwrap_err();
        let again = db.once(key("r1", 1), add_one).await.unwrap_err();
        assert_eq!(again.reason(), "INSUFFICIENT_FUNDS");
        assert_eq!(again.metadata("available"), refused.metadata("available"));

        let fault = db.once(key("r2", 1), async |unit| refuse(unit, "OVERLOADED").await).await.unwrap_err();
        assert_eq!(fault.reason(), "OVERLOADED");
        assert_eq!(db.once(key("r2", 1), add_one).await.unwrap().value, 1);
    }
}

#[tokio::test]
async fn work_of_several_units_is_in_progress_until_its_last_unit_stores_the_reply() {
    for database in each_database().await {
        let db = open(&database).await;
        let begun: Begun<CounterEvent, CounterEvent> = db.begin(key("r1", 1), add_one).await.unwrap();
        assert_eq!(begun, Begun::Started(CounterEvent { value: 1 }));
        let meanwhile = db.begin::<_, CounterEvent>(key("r1", 1), add_one).await.unwrap_err();
        assert_eq!(meanwhile.reason(), "REQUEST_IN_PROGRESS");

        let found = Key::from_text(&key("r1", 1).unwrap().to_text()).unwrap();
        db.write(async |unit| {
            unit.finish(&found, &CounterEvent { value: 77 });
            Ok(())
        })
        .await
        .unwrap();
        let finished: Begun<CounterEvent, CounterEvent> = db.begin(key("r1", 1), add_one).await.unwrap();
        assert_eq!(finished, Begun::Finished(CounterEvent { value: 77 }));
        assert_eq!(value(&db, "a").await, 1);

        let begun: Begun<CounterEvent, CounterEvent> = db.begin(key("r2", 1), add_one).await.unwrap();
        assert!(matches!(begun, Begun::Started(_)));
        db.write(async |unit| {
            unit.refuse(&key("r2", 1).unwrap(), &Error::named("INSUFFICIENT_FUNDS", "No."));
            Ok(())
        })
        .await
        .unwrap();
        let refused = db.begin::<_, CounterEvent>(key("r2", 1), add_one).await.unwrap_err();
        assert_eq!(refused.reason(), "INSUFFICIENT_FUNDS");
    }
}

#[tokio::test]
async fn the_sweep_removes_old_answers_and_leaves_what_is_in_progress() {
    for database in each_database().await {
        let clock = at(1_000);
        let timed = storage::Options { clock: clock.clone(), ..options() };
        let db = storage::Db::open(database.url(), timed).await.unwrap();
        for request in 0..3 {
            db.once(key(&format!("old-{request}"), 1), add_one).await.unwrap();
        }
        let _: Begun<_, CounterEvent> = db.begin(key("open", 1), add_one).await.unwrap();
        clock.advance(std::time::Duration::from_secs(3_600));
        db.once(key("new", 1), add_one).await.unwrap();
        assert_eq!(idempotency::sweep(&db, Timestamp::from_seconds(2_000)).await.unwrap(), 3);
        assert_eq!(number(&db, KEYS, &[]).await, 2);
    }
}
