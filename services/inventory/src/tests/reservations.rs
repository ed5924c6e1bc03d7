//! Reservations, through the RPCs.

use super::*;

#[tokio::test]
async fn pieces_are_set_aside_shipped_in_parts_and_gone() {
    for bench in Bench::each().await {
        let (tea, cup) = (bench.variant(10).await, bench.variant(4).await);
        let id = new_id("rsv");
        let made = bench.create(&id, &[(&tea, 3), (&cup, 2)]).await.unwrap();
        assert_eq!((made.state(), made.lines.len()), (State::Held, 2));
        let expire_time = Timestamp::from_proto(&made.expire_time.unwrap());
        assert_eq!(expire_time, bench.clock.now() + Duration::from_secs(900));
        assert_eq!(bench.counts(&tea).await, [10, 3, 7]);
        let pinned = bench.pin(&id).await.unwrap();
        assert_eq!((pinned.state(), pinned.expire_time), (State::Held, None));
        let part = bench.commit(&id, &new_id("shp"), &[(&tea, 2)]).await.unwrap();
        assert_eq!((part.state(), part.lines[0].committed), (State::Held, 2));
        assert_eq!(bench.counts(&tea).await, [8, 1, 7]);
        let whole = bench.commit(&id, &new_id("shp"), &[]).await.unwrap();
        assert_eq!(whole.state(), State::Committed);
        assert_eq!((bench.counts(&tea).await, bench.counts(&cup).await), ([7, 0, 7], [2, 0, 2]));
        assert_eq!(bench.get(&id).await.unwrap(), whole);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn all_lines_are_had_or_none() {
    for bench in Bench::each().await {
        let (tea, cup, pot) = (bench.variant(10).await, bench.variant(4).await, bench.variant(1).await);
        let id = new_id("rsv");
        let error = bench.create(&id, &[(&tea, 1), (&cup, 5), (&pot, 2)]).await.unwrap_err();
        assert_eq!(error.reason(), "OUT_OF_STOCK");
        assert_eq!((error.metadata("variant"), error.metadata("available")), (Some(cup.as_str()), Some("4")));
        assert_eq!(bench.counts(&tea).await, [10, 0, 10]);
        assert_eq!(bench.get(&id).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let error = bench.create(&id, &[(&new_id("var"), 1)]).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("available")), ("OUT_OF_STOCK", Some("0")));
        // The id is not used up by a refusal.
        bench.create(&id, &[(&tea, 1)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_line_is_split_over_locations_by_rank_and_comes_back_to_where_it_was() {
    for bench in Bench::each().await {
        let tea = bench.variant(2).await;
        let [far, near] = [("Memphis", 7), ("Delft", 3)];
        for (name, rank) in [far, near] {
            let location = bench.add_location(name, rank).await.unwrap();
            bench.adjust(adjustment(&tea, &location.id, Kind::Received, 2)).await.unwrap();
        }
        let reserved = async || {
            let mut items = bench.items(&tea).await;
            items.sort_by_key(|item| item.reserved);
            items.iter().map(|item| item.reserved).collect::<Vec<_>>()
        };
        let id = new_id("rsv");
        bench.create(&id, &[(&tea, 5)]).await.unwrap();
        assert_eq!(reserved().await, [1, 2, 2]);
        bench.commit(&id, &new_id("shp"), &[(&tea, 3)]).await.unwrap();
        assert_eq!(bench.counts(&tea).await, [3, 2, 1]);
        let ended = bench.release(&id).await.unwrap();
        assert_eq!((ended.state(), ended.lines[0].committed), (State::Committed, 3));
        assert_eq!(bench.counts(&tea).await, [3, 0, 3]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_repeat_of_anything_changes_nothing_more() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let (id, shipment) = (new_id("rsv"), new_id("shp"));
        let made = bench.create(&id, &[(&tea, 3)]).await.unwrap();
        assert_eq!(bench.create(&id, &[(&tea, 3)]).await.unwrap(), made);
        let longer = bench.extend(&id, 3_600).await.unwrap();
        assert_eq!(bench.extend(&id, 3_600).await.unwrap(), longer);
        let pinned = bench.pin(&id).await.unwrap();
        assert_eq!(bench.pin(&id).await.unwrap(), pinned);
        let part = bench.commit(&id, &shipment, &[(&tea, 1)]).await.unwrap();
        assert_eq!(bench.commit(&id, &shipment, &[(&tea, 1)]).await.unwrap(), part);
        let ended = bench.release(&id).await.unwrap();
        assert_eq!(bench.release(&id).await.unwrap(), ended);
        assert_eq!(bench.commit(&id, &shipment, &[(&tea, 1)]).await.unwrap(), ended);
        assert_eq!(bench.create(&id, &[(&tea, 3)]).await.unwrap(), ended);
        assert_eq!(bench.counts(&tea).await, [9, 0, 9]);
        let other = bench.create(&id, &[(&tea, 4)]).await.unwrap_err();
        assert_eq!(other.reason(), "IDEMPOTENCY_KEY_REUSED");
        let other = bench.commit(&id, &shipment, &[(&tea, 2)]).await.unwrap_err();
        assert_eq!(other.reason(), "IDEMPOTENCY_KEY_REUSED");
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn what_was_released_before_it_was_made_is_never_made() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let id = new_id("rsv");
        let never = bench.release(&id).await.unwrap();
        assert_eq!((never.state(), never.lines.len()), (State::Released, 0));
        assert_eq!(bench.release(&id).await.unwrap(), never);
        let error = bench.create(&id, &[(&tea, 1)]).await.unwrap_err();
        assert_eq!(error.reason(), "RESERVATION_NOT_HELD");
        assert_eq!(bench.counts(&tea).await, [10, 0, 10]);
    }
}

#[tokio::test]
async fn nothing_can_be_done_with_a_reservation_that_was_never_made_or_has_ended() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let id = new_id("rsv");
        for refused in [bench.pin(&id).await, bench.extend(&id, 5).await, bench.commit(&id, &new_id("shp"), &[]).await]
        {
            assert_eq!(refused.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        }
        bench.create(&id, &[(&tea, 1)]).await.unwrap();
        bench.release(&id).await.unwrap();
        for refused in [bench.pin(&id).await, bench.extend(&id, 5).await, bench.commit(&id, &new_id("shp"), &[]).await]
        {
            assert_eq!(refused.unwrap_err().reason(), "RESERVATION_NOT_HELD");
        }
        let id = new_id("rsv");
        bench.create(&id, &[(&tea, 1)]).await.unwrap();
        let shipped = bench.commit(&id, &new_id("shp"), &[]).await.unwrap();
        assert_eq!(bench.release(&id).await.unwrap(), shipped);
        assert_eq!(bench.commit(&id, &new_id("shp"), &[]).await.unwrap_err().reason(), "RESERVATION_NOT_HELD");
        assert_eq!(bench.counts(&tea).await, [9, 0, 9]);
    }
}

#[tokio::test]
async fn a_line_per_variant_is_asked_for() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let error = bench.create(&new_id("rsv"), &[(&tea, 1), (&tea, 1)]).await.unwrap_err();
        assert_eq!(error.reason(), "INVALID_FIELD");
        assert_eq!(bench.counts(&tea).await, [10, 0, 10]);
    }
}

#[tokio::test]
async fn reservations_are_listed_by_state_the_newest_first_page_by_page() {
    for bench in Bench::each().await {
        let tea = bench.variant(100).await;
        let mut ids = Vec::new();
        for number in 0..5 {
            bench.clock.advance(Duration::from_secs(1));
            let id = new_id("rsv");
            bench.create(&id, &[(&tea, 1)]).await.unwrap();
            if number == 2 {
                bench.release(&id).await.unwrap();
            }
            ids.insert(0, id);
        }
        let list = async |state: State, page_token: String| {
            let request = api::ListReservationsRequest { page_size: 2, page_token, state: state.into() };
            let reply = answer(bench.service.list_reservations(Request::new(request))).await.unwrap();
            let ids = reply.reservations.into_iter().map(|reservation| reservation.id).collect::<Vec<_>>();
            (ids, reply.next_page_token)
        };
        let (first, token) = list(State::Unspecified, String::new()).await;
        let (second, token) = list(State::Unspecified, token).await;
        let (third, end) = list(State::Unspecified, token).await;
        assert_eq!([first, second, third].concat(), ids);
        assert_eq!(end, "");
        assert_eq!(list(State::Released, String::new()).await.0, [ids[2].clone()]);
        assert_eq!(list(State::Expired, String::new()).await, (vec![], String::new()));
    }
}

#[tokio::test]
async fn each_step_of_a_reservation_is_told_once_and_in_order() {
    use api::inventory_event::Event;

    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let id = new_id("rsv");
        bench.create(&id, &[(&tea, 3)]).await.unwrap();
        bench.create(&id, &[(&tea, 3)]).await.unwrap();
        bench.pin(&id).await.unwrap();
        bench.commit(&id, &new_id("shp"), &[(&tea, 1)]).await.unwrap();
        bench.release(&id).await.unwrap();
        bench.release(&id).await.unwrap();
        bench.release(&new_id("rsv")).await.unwrap();
        let facts = bench.facts().await;
        let mine: Vec<_> = facts.iter().filter(|(about, ..)| about.starts_with("rsv_")).collect();
        let sequences: Vec<i64> = mine.iter().map(|(_, sequence, _)| *sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert!(mine.iter().all(|(about, ..)| *about == id));
        let states: Vec<State> = mine
            .iter()
            .map(|(.., event)| match event {
                Event::StockReserved(fact) => fact.reservation.as_ref(),
                Event::StockReservationCommitted(fact) => fact.reservation.as_ref(),
                Event::StockReservationReleased(fact) => fact.reservation.as_ref(),
                _ => None,
            })
            .map(|reservation| reservation.unwrap().state())
            .collect();
        assert_eq!(states, [State::Held, State::Held, State::Committed]);
    }
}
