//! Units: all or nothing, whoever fails beside them.

use crate::fixture::{add, open, value};
use storage::testing::each_database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_unit_wrote_is_there_when_its_reply_comes() {
    for database in each_database().await {
        let db = open(&database).await;
        let spawned = tokio::spawn({
            let db = db.clone();
            let id = String::from("a");
            async move { db.write(async |unit| add(unit, &id, 2).await).await }
        });
        assert_eq!(spawned.await.unwrap().unwrap(), 2);
        assert_eq!(value(&db, "a").await, 2);
    }
}
