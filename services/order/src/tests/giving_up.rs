//! Shipments that an operator gives up, since nobody can take the money for them.

use api::{cancellation::Goods, order::State, shipment::State as Stands};
use contracts::payment::v1::payment;

use super::{crashes::retry, fakes::Mood, verifying::problems, *};
use crate::{
    giving_up,
    order::Order,
    runner::{self, Task},
    saga, shipment,
};

async fn give_up(bench: &Bench, id: &str, restock: bool) -> Result<api::Shipment, Error> {
    let (request_id, reason) = (request_id(), "The card was closed.".to_owned());
    let request = api::CancelShipmentRequest { request_id, id: id.to_owned(), reason, restock };
    Ok(answer(admin_call(), bench.service.cancel_shipment(Request::new(request))).await?.shipment.unwrap())
}

async fn shown(bench: &Bench, id: &str) -> api::Shipment {
    let request = Request::new(api::GetShipmentRequest { id: id.to_owned() });
    answer(admin_call(), bench.service.get_shipment(request)).await.unwrap().shipment.unwrap()
}

async fn is_stuck(bench: &Bench, id: &str) -> bool {
    bench.saga(id).await.state() == api::saga::State::Stuck
}

/// Ships pieces whose money is gone once they have left stock, and gives back what the order is stuck with.
async fn stuck_with(bench: &Bench, id: &str, lines: Vec<api::LineQuantity>) -> api::CreateShipmentRequest {
    let request =
        api::CreateShipmentRequest { request_id: request_id(), order_id: id.to_owned(), lines, ..Default::default() };
    bench.payment.moods.set("capture", Mood::Away);
    bench.create_shipment(request.clone()).await.unwrap();
    bench.payment.move_all(match bench.payment.captured() {
        0 => payment::State::Failed,
        _ => payment::State::Captured,
    });
    bench.payment.moods.set("capture", Mood::Well);
    bench.recover().await;
    assert!(is_stuck(bench, id).await);
    request
}

/// Ships all pieces. Their money is taken, but payment cannot be asked whether it was.
async fn paid_unheard(bench: &Bench, id: &str) -> String {
    bench.payment.moods.set("capture", Mood::LosingAnswers);
    let parcel = bench.ship(id, &[]).await.unwrap().id;
    bench.payment.moods.set("get", Mood::Away);
    parcel
}

/// Lets the time of an order end, which is stuck then, and everyone be well again.
async fn not_in_time(bench: &Bench, id: &str, step: &str) {
    bench.clock.advance(Duration::from_secs(10 * 60));
    bench.recover().await;
    assert!(is_stuck(bench, id).await);
    assert_eq!(bench.saga(id).await.step, step);
    for rpc in ["get", "capture"] {
        bench.payment.moods.set(rpc, Mood::Well);
    }
    bench.inventory.moods.set("adjust", Mood::Well);
}

/// Has a shipment given up whose goods go back into stock without anybody hearing of it.
async fn restocked_unheard(bench: &Bench, id: &str, parcel: &str) {
    let before = bench.inventory.returned();
    bench.inventory.moods.set("adjust", Mood::LosingAnswers);
    give_up(bench, parcel, true).await.unwrap();
    eventually(async || bench.saga(id).await.attempts > 0).await;
    assert_eq!((bench.saga(id).await.step.as_str(), bench.inventory.returned()), ("restock", before + 3));
}

/// The shipment that an order is stuck with.
async fn open(bench: &Bench, id: &str) -> String {
    let request = Request::new(api::ListShipmentsRequest { order_id: id.to_owned() });
    let listed = answer(admin_call(), bench.service.list_shipments(request)).await.unwrap().shipments;
    listed.into_iter().find(|one| one.state() == Stands::Preparing).unwrap().id
}

#[tokio::test]
async fn an_order_whose_money_ended_after_its_goods_left_stock_ends_when_an_operator_gives_the_shipment_up() {
    for bench in Bench::each_patient().await {
        for (restock, goods, returned) in [(true, Goods::Restocked, 3), (false, Goods::WrittenOff, 3)] {
            let me = user();
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            let request = stuck_with(&bench, &id, Vec::new()).await;
            retry(&bench, &id).await.unwrap();
            eventually(async || is_stuck(&bench, &id).await).await;
            let stuck = open(&bench, &id).await;
            assert_eq!(give_up(&bench, &stuck, restock).await.unwrap().state(), Stands::Preparing, "as it was noted");
            let line = bench.reaches(&me, &id, State::Cancelled).await.purchase.unwrap().lines[0].clone();
            assert_eq!((line.shipped, line.cancelled), (0, 3));
            let ended = shown(&bench, &stuck).await;
            let cancellation = ended.cancellation.clone().unwrap();
            assert_eq!((ended.state(), cancellation.goods()), (Stands::Cancelled, goods));
            assert_eq!(cancellation.reason, "The card was closed.");
            assert_eq!(bench.create_shipment(request).await.unwrap(), ended, "whoever shipped it learns how it ended");
            assert_eq!((bench.inventory.returned(), bench.payment.captured()), (returned, 0));
            bench.assert_nothing_is_held();
            assert_eq!(problems(&bench).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn what_was_shipped_before_stays_shipped_and_paid_when_the_rest_is_given_up() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        stuck_with(&bench, &id, vec![pieces("mug", 1)]).await;
        give_up(&bench, &open(&bench, &id).await, true).await.unwrap();
        let purchase = bench.reaches(&me, &id, State::Fulfilled).await.purchase.unwrap();
        assert_eq!((purchase.lines[0].shipped, purchase.lines[0].cancelled), (1, 2));
        assert_eq!((purchase.captured, bench.inventory.returned()), (amount("14.99", "USD"), 1));
        assert_eq!((bench.payment.captured(), bench.payment.refunded()), (1_499, 0));
        bench.assert_nothing_is_held();
        assert_eq!(problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn money_that_was_taken_after_all_is_given_back_for_goods_at_hand_and_pays_for_those_that_are_lost() {
    for bench in Bench::each_patient().await {
        for (restock, end, stands) in
            [(true, State::Cancelled, Stands::Cancelled), (false, State::Fulfilled, Stands::Shipped)]
        {
            let me = user();
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            let refunded = bench.payment.refunded();
            let parcel = paid_unheard(&bench, &id).await;
            not_in_time(&bench, &id, "capture").await;
            give_up(&bench, &parcel, restock).await.unwrap();
            bench.reaches(&me, &id, end).await;
            let ended = shown(&bench, &parcel).await;
            assert_eq!((ended.state(), ended.cancellation.is_some()), (stands, restock));
            let given = if restock { 3_500 } else { 0 };
            assert_eq!(bench.payment.refunded() - refunded, given);
            assert_eq!(problems(&bench).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn goods_that_never_left_stock_stay_there_when_their_shipment_is_given_up() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.inventory.moods.set("commit", Mood::Away);
        let parcel = bench.ship(&id, &[]).await.unwrap().id;
        bench.clock.advance(Duration::from_secs(10 * 60));
        bench.recover().await;
        bench.inventory.moods.set("commit", Mood::Well);
        give_up(&bench, &parcel, true).await.unwrap();
        bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!(shown(&bench, &parcel).await.cancellation.unwrap().goods(), Goods::Kept);
        assert_eq!((bench.inventory.returned(), bench.inventory.shipped()), (0, 0));
        bench.assert_nothing_is_held();
        assert_eq!(problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn goods_of_a_shipment_that_is_given_up_go_back_once_though_the_answer_of_inventory_is_lost() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        stuck_with(&bench, &id, Vec::new()).await;
        let parcel = open(&bench, &id).await;
        restocked_unheard(&bench, &id, &parcel).await;
        bench.inventory.moods.set("adjust", Mood::Well);
        bench.recover().await;
        bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!(bench.inventory.returned(), 3);
    }
}

/// T-STUCK.
#[tokio::test]
async fn goods_that_may_be_in_stock_again_are_neither_written_off_nor_paid_for_by_another_word_of_the_operator() {
    for bench in Bench::each_patient().await {
        for is_paid in [false, true] {
            let me = user();
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            let (returned, refunded) = (bench.inventory.returned(), bench.payment.refunded());
            match is_paid {
                true => {
                    paid_unheard(&bench, &id).await;
                    not_in_time(&bench, &id, "capture").await;
                }
                false => drop(stuck_with(&bench, &id, Vec::new()).await),
            }
            let parcel = open(&bench, &id).await;
            restocked_unheard(&bench, &id, &parcel).await;
            not_in_time(&bench, &id, "restock").await;
            give_up(&bench, &parcel, false).await.unwrap();
            bench.reaches(&me, &id, State::Cancelled).await;
            let ended = shown(&bench, &parcel).await;
            assert_eq!((ended.state(), ended.cancellation.unwrap().goods()), (Stands::Cancelled, Goods::Restocked));
            let given = if is_paid { 3_500 } else { 0 };
            assert_eq!((bench.inventory.returned() - returned, bench.payment.refunded() - refunded), (3, given));
            assert_eq!(problems(&bench).await, [""; 0]);
        }
    }
}

/// T-STUCK.
#[tokio::test]
async fn a_pass_that_slept_while_its_shipment_was_given_up_does_not_ship_it_when_it_wakes() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let parcel = paid_unheard(&bench, &id).await;
        let read = async |session: &mut storage::Session| {
            let order = store::load(session, &Scope::All, &id).await?.unwrap();
            Ok((order, shipment::load(session, &Scope::All, &parcel).await?))
        };
        let (order, asleep) = bench.db.snapshot(read).await.unwrap();
        let before = asleep.shipment.clone();
        not_in_time(&bench, &id, "capture").await;
        restocked_unheard(&bench, &id, &parcel).await;
        let given_up = (bench.saga(&id).await, shown(&bench, &parcel).await);
        let pass = runner::carry_on(&bench.service, order, Some(Task::Shipment(asleep)));
        kit::call::run(Call::background("order", Duration::from_secs(60)), pass).await.unwrap();
        assert_eq!((bench.saga(&id).await, shown(&bench, &parcel).await), given_up);
        let shipped = shipment::shipped(&before, false, bench.clock.now());
        let overwrite = async |unit: &mut storage::Unit| shipment::save(unit, &before, &shipped).await;
        assert!(!bench.db.write(overwrite).await.unwrap(), "nor does anyone overwrite it from an older copy");
        bench.inventory.moods.set("adjust", Mood::Well);
        bench.recover().await;
        bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!(shown(&bench, &parcel).await.cancellation.unwrap().goods(), Goods::Restocked);
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (3, 3_500));
        assert_eq!(problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn only_a_shipment_with_which_its_order_is_stuck_is_given_up() {
    for bench in Bench::each_patient().await {
        let id = bench.buy(&user(), MUGS, State::Confirmed).await.id;
        let left = bench.ship(&id, &[pieces("mug", 1)]).await.unwrap().id;
        assert_eq!(give_up(&bench, &left, true).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        bench.payment.moods.set("capture", Mood::Away);
        let moving = bench.ship(&id, &[]).await.unwrap().id;
        assert_eq!(give_up(&bench, &moving, true).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        let nowhere = kit::id::new("shp", Timestamp::from_seconds(1));
        assert_eq!(give_up(&bench, &nowhere, true).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    }
}

#[test]
fn goods_that_are_in_stock_again_are_not_written_off_by_another_word_of_the_operator() {
    install();
    let stuck = |order: &mut Order| order.saga.state = saga::State::Stuck;
    let mut order = moves::after(&[moves::confirm(), moves::ship("shp_1", 3)]);
    let restocked = api::Cancellation { goods: Goods::Restocked.into(), restock: true, ..Default::default() };
    let state = Stands::Preparing.into();
    let before = api::Shipment { id: "shp_1".into(), state, cancellation: Some(restocked), ..Default::default() };
    let request = api::CancelShipmentRequest { id: "shp_1".into(), reason: "Lost.".into(), ..Default::default() };
    assert!(giving_up::noted(&order, &before, &request).is_err(), "it is not stuck");
    stuck(&mut order);
    let noted = giving_up::noted(&order, &before, &request).unwrap().cancellation.unwrap();
    assert_eq!((noted.restock, noted.goods(), noted.reason.as_str()), (true, Goods::Restocked, "Lost."));
    let other = api::Shipment { id: "shp_2".into(), ..before };
    assert!(giving_up::noted(&order, &other, &request).is_err(), "it is stuck with another");
}
