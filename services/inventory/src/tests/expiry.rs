//! What happens to reservations that nobody wants in time.

use kit::drain::Drain;

use super::*;
use crate::sweeper;

const LIFETIME: Duration = Duration::from_secs(900);
const MILLISECOND: Duration = Duration::from_millis(1);

/// T-EXPIRE.
#[tokio::test]
async fn a_commit_a_millisecond_before_the_end_ships_and_one_at_the_end_or_after_is_refused() {
    for late in [-1, 0, 1] {
        for bench in Bench::each().await {
            let tea = bench.variant(1).await;
            let id = new_id("rsv");
            bench.create(&id, &[(&tea, 1)]).await.unwrap();
            bench.clock.advance(LIFETIME - MILLISECOND);
            bench.clock.advance(MILLISECOND * u32::try_from(late + 1).unwrap());
            let committed = bench.commit(&id, &new_id("shp"), &[]).await;
            if late < 0 {
                assert_eq!(committed.unwrap().state(), State::Committed);
                assert_eq!(bench.counts(&tea).await, [0, 0, 0]);
            } else {
                let error = committed.unwrap_err();
                assert_eq!((error.reason(), error.metadata("reservation")), ("RESERVATION_EXPIRED", Some(&*id)));
                assert_eq!(bench.get(&id).await.unwrap().state(), State::Expired);
                assert_eq!(bench.counts(&tea).await, [1, 0, 1]);
            }
            assert!(bench.verify().await.holds);
        }
    }
}

#[tokio::test]
async fn every_other_step_after_the_end_finds_the_reservation_expired() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let ids: Vec<String> = (0..4).map(|_| new_id("rsv")).collect();
        for id in &ids {
            bench.create(id, &[(&tea, 1)]).await.unwrap();
        }
        bench.clock.advance(LIFETIME);
        assert_eq!(bench.pin(&ids[0]).await.unwrap_err().reason(), "RESERVATION_EXPIRED");
        assert_eq!(bench.extend(&ids[1], 60).await.unwrap_err().reason(), "RESERVATION_EXPIRED");
        assert_eq!(bench.release(&ids[2]).await.unwrap().state(), State::Expired);
        assert_eq!(bench.create(&ids[3], &[(&tea, 1)]).await.unwrap().state(), State::Expired);
        assert_eq!(bench.counts(&tea).await, [10, 0, 10]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn the_sweeper_gives_back_everything_that_is_due_and_nothing_before() {
    for bench in Bench::each().await {
        let tea = bench.variant(1_000).await;
        let [kept, pinned] = [new_id("rsv"), new_id("rsv")];
        for _ in 0..300 {
            bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
        }
        bench.clock.advance(MILLISECOND);
        for id in [&kept, &pinned] {
            bench.create(id, &[(&tea, 2)]).await.unwrap();
        }
        bench.pin(&pinned).await.unwrap();
        let (drain, draining) = Drain::new();
        let service = bench.service.clone();
        let sweeper = tokio::spawn(async move { sweeper::run(&service, &draining).await });
        bench.clock.advance(LIFETIME - MILLISECOND - MILLISECOND);
        assert_eq!(sweeper::sweep_as_itself(&bench.service).await, 0);
        // Each half second is a look of the sweeper.
        eventually(async || {
            bench.clock.advance(Duration::from_millis(500));
            bench.counts(&tea).await[1] == 2
        })
        .await;
        assert_eq!(bench.get(&kept).await.unwrap().state(), State::Expired);
        assert_eq!(bench.get(&pinned).await.unwrap().state(), State::Held);
        assert!(bench.verify().await.holds);
        drain.start();
        sweeper.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_pinned_or_shipped_in_part_never_expires() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let [pinned, part] = [new_id("rsv"), new_id("rsv")];
        for id in [&pinned, &part] {
            bench.create(id, &[(&tea, 2)]).await.unwrap();
        }
        bench.pin(&pinned).await.unwrap();
        bench.commit(&part, &new_id("shp"), &[(&tea, 1)]).await.unwrap();
        bench.clock.advance(LIFETIME * 1_000);
        assert_eq!(sweeper::sweep_as_itself(&bench.service).await, 0);
        for id in [&pinned, &part] {
            assert_eq!(bench.commit(id, &new_id("shp"), &[]).await.unwrap().state(), State::Committed);
        }
        assert_eq!(bench.counts(&tea).await, [6, 0, 6]);
    }
}

#[tokio::test]
async fn a_reservation_can_be_held_for_longer() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let id = new_id("rsv");
        bench.create(&id, &[(&tea, 1)]).await.unwrap();
        bench.clock.advance(LIFETIME - MILLISECOND);
        bench.extend(&id, 60).await.unwrap();
        bench.clock.advance(Duration::from_secs(59));
        assert_eq!(bench.pin(&id).await.unwrap().expire_time, None);
        // For ever is longer than anything.
        assert_eq!(bench.extend(&id, 60).await.unwrap().expire_time, None);
    }
}
