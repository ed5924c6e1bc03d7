//! Cards: kept without what would let others pay with them.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

use super::*;
use crate::{
    handler::methods::keep,
    provider::{Authorization, Card, brand, has_check_digit},
    simulator::cards,
    store::methods::Method,
};

#[tokio::test]
async fn a_card_is_kept_without_its_number_and_listed_for_its_owner() {
    for bench in Bench::each().await {
        let me = id("usr");
        let first = bench.add_card(&me, GOOD).await.unwrap();
        assert_eq!((first.brand.as_str(), first.last_four.as_str(), first.expire_year), ("visa", "4242", 2099));
        bench.clock.advance(Duration::from_millis(5));
        let second = bench.add_card(&me, "4000000000000002").await.unwrap();
        assert_eq!(list(&bench, &me).await, [second.clone(), first.clone()]);
        assert!(list(&bench, &id("usr")).await.is_empty());

        let stolen = api::ProcessPaymentRequest { payment_method_id: first.id.clone(), ..purchase("10.00") };
        assert_eq!(bench.process(stolen).await.unwrap_err().reason(), "PAYMENT_METHOD_INVALID");
        let stranger = delete(&bench, &id("usr"), &first.id).await.unwrap_err();
        assert_eq!(stranger.reason(), "RESOURCE_NOT_FOUND");
        delete(&bench, &me, &first.id).await.unwrap();
        assert_eq!(list(&bench, &me).await, [second]);
        assert_eq!(delete(&bench, &me, &first.id).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let gone = api::ProcessPaymentRequest { owner_id: me, payment_method_id: first.id, ..purchase("10.00") };
        assert_eq!(bench.process(gone).await.unwrap_err().reason(), "PAYMENT_METHOD_INVALID");
    }
}

#[tokio::test]
async fn a_removed_card_is_forgotten_by_its_provider_and_payments_under_way_go_on() {
    for bench in Bench::each().await {
        let asked = bench.card(GOOD).await;
        bench.process(asked.clone()).await.unwrap();
        let request = api::DeletePaymentMethodRequest { request_id: request_id(), id: asked.payment_method_id.clone() };
        for _ in 0..2 {
            let delete = bench.service.delete_payment_method(Request::new(request.clone()));
            answer(user_call(&asked.owner_id), delete).await.unwrap();
        }
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (1, 0));
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_cards WHERE forget_time IS NOT NULL").await, 1);
        assert_eq!(bench.capture(&asked.id, &shipment(), "", true).await.unwrap().state(), State::Captured);
    }
}

#[tokio::test]
async fn a_removed_card_is_kept_until_the_payments_that_it_was_asked_for_are_answered() {
    for bench in Bench::each().await {
        // The first request is lost, and has to be made again with the same card.
        let asked = bench.card("4000000000001034").await;
        assert_eq!(bench.process(asked.clone()).await.unwrap().state(), State::Processing);
        delete(&bench, &asked.owner_id, &asked.payment_method_id).await.unwrap();
        assert_eq!(bench.reconcile().await, 0);
        assert_eq!(bench.later().await, 1);
        assert_eq!(bench.state(&asked.id).await, State::Authorized);
        assert_eq!(bench.number(KEPT).await, 1);
        assert_eq!((bench.reconcile().await, bench.number(KEPT).await), (1, 0));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_slip_an_expired_card_and_a_real_one_are_refused() {
    for bench in Bench::each().await {
        let add = async |number: &str, month, year, code: &str| {
            let request = api::CreatePaymentMethodRequest {
                number: number.to_owned(),
                expire_month: month,
                expire_year: year,
                security_code: code.to_owned(),
                request_id: request_id(),
            };
            let add = bench.service.create_payment_method(Request::new(request));
            answer(user_call(&id("usr")), add).await.map(drop)
        };
        // The clock stands at January 2027.
        for (number, month, year, code, reason, why) in [
            ("4242424242424241", 12, 2099, "737", "INVALID_FIELD", None),
            ("5555555555554444", 12, 2099, "737", "PAYMENT_METHOD_INVALID", Some("test_cards_only")),
            (GOOD, 12, 2026, "737", "PAYMENT_METHOD_INVALID", Some("expired_card")),
            (GOOD, 12, 2099, "7373", "PAYMENT_METHOD_INVALID", Some("incorrect_security_code")),
        ] {
            let refused = add(number, month, year, code).await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("decline_code")), (reason, why));
            assert!(!refused.to_string().contains(number), "{refused}");
        }
        add(GOOD, 1, 2027, "737").await.unwrap();
    }
}

#[tokio::test]
async fn nobody_keeps_more_cards_than_anybody_needs() {
    for bench in Bench::each().await {
        let me = id("usr");
        for _ in 0..50 {
            bench.add_card(&me, GOOD).await.unwrap();
        }
        let refused = bench.add_card(&me, GOOD).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("max")), ("LIMIT_EXCEEDED", Some("50")));
        assert_eq!(list(&bench, &me).await.len(), 50);
    }
}

fn adding(number: &str) -> api::CreatePaymentMethodRequest {
    api::CreatePaymentMethodRequest {
        number: number.to_owned(),
        expire_month: 12,
        expire_year: 2099,
        security_code: "737".to_owned(),
        request_id: request_id(),
    }
}

async fn add(
    bench: &Bench,
    owner: &str,
    request: &api::CreatePaymentMethodRequest,
) -> Result<api::PaymentMethod, Error> {
    let add = bench.service.create_payment_method(Request::new(request.clone()));
    Ok(answer(user_call(owner), add).await?.payment_method.unwrap())
}

#[tokio::test]
async fn a_repeat_adds_no_second_card_and_another_card_under_its_key_is_refused() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding(GOOD));
        let first = add(&bench, &me, &request).await.unwrap();
        assert_eq!(add(&bench, &me, &request).await.unwrap(), first);
        let at_once = futures::future::join_all((0..8).map(|_| add(&bench, &me, &request))).await;
        assert!(at_once.iter().all(|added| added.as_ref().is_ok_and(|added| *added == first)), "{at_once:?}");
        let other = api::CreatePaymentMethodRequest { number: "4000000000000002".to_owned(), ..request.clone() };
        let later = api::CreatePaymentMethodRequest { expire_year: 2098, ..request.clone() };
        for other in [other, later] {
            assert_eq!(add(&bench, &me, &other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        }
        let strangers = add(&bench, &id("usr"), &request).await.unwrap();
        assert_ne!(strangers.id, first.id, "a key belongs to whoever sent it");
        assert_eq!(list(&bench, &me).await, [first]);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_cards").await, 2);
    }
}

#[tokio::test]
async fn the_same_card_added_many_times_at_once_is_kept_once() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding(GOOD));
        for answer in futures::future::join_all((0..8).map(|_| add(&bench, &me, &request))).await {
            let busy = ["SERIALIZATION_FAILURE", "LOCK_CONFLICT"];
            if let Err(error) = answer {
                assert!(busy.contains(&error.reason()), "{error}");
            }
        }
        add(&bench, &me, &request).await.unwrap();
        assert_eq!(list(&bench, &me).await.len(), 1);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_cards").await, 1);
    }
}

#[tokio::test]
async fn a_card_that_was_refused_stays_refused_under_its_key() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding("5555555555554444"));
        let refused = add(&bench, &me, &request).await.unwrap_err();
        assert_eq!(
            (refused.reason(), refused.metadata("decline_code")),
            ("PAYMENT_METHOD_INVALID", Some("test_cards_only"))
        );
        assert_eq!(add(&bench, &me, &request).await.unwrap_err(), refused);
        assert!(list(&bench, &me).await.is_empty());
        bench.later().await;
        assert_eq!(bench.number("SELECT COUNT(*) FROM payment_methods").await, 1);
        bench.clock.advance(4 * DAY);
        bench.reconcile().await;
        assert_eq!(bench.number("SELECT COUNT(*) FROM payment_methods").await, 0, "it is not remembered for ever");
    }
}

/// Adds a card, and gives back its row.
async fn noted(bench: &Bench, owner: &str) -> Method {
    let added = bench.add_card(owner, GOOD).await.unwrap();
    let read = async |session: &mut storage::Session| store::methods::load(session, &added.id).await;
    bench.db.read(read).await.unwrap().unwrap()
}

const KEPT: &str = "SELECT COUNT(*) FROM simulator_cards WHERE forget_time IS NULL";

#[tokio::test]
async fn a_card_that_is_removed_while_the_reconciler_looks_at_it_is_forgotten_all_the_same() {
    for bench in Bench::each().await {
        let me = id("usr");
        let loaded = noted(&bench, &me).await;
        delete(&bench, &me, &loaded.id).await.unwrap();
        reconcile::card(&bench.service, &loaded).await.unwrap();
        assert_eq!(bench.number(KEPT).await, 1);
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (1, 0));
        assert_eq!(bench.number(KEPT).await, 0);
    }
}

/// A card on its way to the provider, with the code on its back.
fn written(security_code: &str) -> Card {
    let secret = kit::config::Secret::new;
    Card { number: secret(GOOD), security_code: secret(security_code), expire_month: 12, expire_year: 2099 }
}

#[tokio::test]
async fn a_card_that_is_kept_after_another_request_under_its_key_was_refused_is_forgotten() {
    for bench in Bench::each().await {
        let loaded = noted(&bench, &id("usr")).await;
        bench.run_sql("UPDATE payment_methods SET state = 'PROCESSING', token = ''").await;
        let refused = keep(&bench.service, &loaded.id, &written("7373")).await.unwrap();
        assert_eq!((refused.state, bench.number(KEPT).await), (store::methods::State::Failed, 1));
        assert_eq!(keep(&bench.service, &loaded.id, &written("737")).await.unwrap(), refused);
        assert_eq!(bench.number(KEPT).await, 0);

        bench.run_sql("DELETE FROM payment_methods").await;
        keep(&bench.service, &loaded.id, &written("737")).await.unwrap_err();
        assert_eq!(bench.number(KEPT).await, 0, "nothing is kept that is in no books");
    }
}

#[tokio::test]
async fn a_card_that_was_refused_is_forgotten_before_it_is_removed_from_the_books() {
    for bench in Bench::each().await {
        let loaded = noted(&bench, &id("usr")).await;
        bench.run_sql("UPDATE payment_methods SET state = 'PROCESSING', token = ''").await;
        keep(&bench.service, &loaded.id, &written("7373")).await.unwrap();
        assert_eq!(bench.number(KEPT).await, 1);
        bench.clock.advance(4 * DAY);
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (1, 0));
        assert_eq!((bench.number(KEPT).await, bench.number("SELECT COUNT(*) FROM payment_methods").await), (0, 0));
    }
}

#[tokio::test]
async fn the_token_of_a_card_does_not_print() {
    let bench = Bench::over(Database::sqlite(), settings()).await;
    let method = noted(&bench, &id("usr")).await;
    let payment = load(&bench, &bench.captured().await.id).await;
    let asked = Authorization { payment: &payment, token: &method.token, expire_time: bench.clock.now() };
    let printed = format!("{method:?} {asked:?}");
    assert!(method.token.reveal().starts_with("tok_") && !printed.contains("tok_"), "{printed}");
}

#[tokio::test]
async fn a_card_whose_provider_is_away_is_added_by_a_repeat() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding("4000000000001117"));
        let refused = add(&bench, &me, &request).await.unwrap_err();
        assert_eq!((refused.reason(), refused.retryable()), ("PROVIDER_UNAVAILABLE", true));
        assert!(list(&bench, &me).await.is_empty());
        let pending = bench.number("SELECT COUNT(*) FROM payment_methods WHERE state = 'PROCESSING'").await;
        assert_eq!(pending, 1, "it is noted before the provider is asked");
        bench.later().await;
        let added = add(&bench, &me, &request).await.unwrap();
        assert_eq!(list(&bench, &me).await, [added]);
    }
}

#[tokio::test]
async fn a_card_that_was_kept_although_the_answer_was_lost_is_found_by_the_reconciler() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding("4000000000001125"));
        assert_eq!(add(&bench, &me, &request).await.unwrap_err().reason(), "PROVIDER_UNAVAILABLE");
        assert!(list(&bench, &me).await.is_empty());
        assert_eq!((bench.later().await, bench.reconcile().await), (1, 0));
        let [added] = list(&bench, &me).await.try_into().unwrap();
        assert_eq!(add(&bench, &me, &request).await.unwrap(), added);
        let asked = api::ProcessPaymentRequest { owner_id: me, payment_method_id: added.id, ..purchase("10.00") };
        assert_eq!(bench.process(asked).await.unwrap().state(), State::Authorized);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_cards").await, 1);
    }
}

#[tokio::test]
async fn a_card_that_its_provider_never_heard_of_is_not_waited_for_forever() {
    for bench in Bench::each().await {
        let (me, request) = (id("usr"), adding("4000000000001117"));
        add(&bench, &me, &request).await.unwrap_err();
        const NOTED: &str = "SELECT COUNT(*) FROM payment_methods";
        bench.later().await;
        assert_eq!(bench.number(NOTED).await, 1);
        bench.clock.advance(Duration::from_secs(600));
        assert_eq!((bench.reconcile().await, bench.reconcile().await), (1, 0));
        assert_eq!(bench.number(NOTED).await, 0);
    }
}

#[test]
fn a_request_with_a_card_prints_neither_its_number_nor_its_code() {
    let printed = format!("{:?} {:#?}", adding(GOOD), adding(GOOD));
    assert!(!printed.contains(GOOD) && !printed.contains("737"), "{printed}");
    assert!(printed.contains("redacted") && printed.contains("2099"), "{printed}");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Looks through the whole database file and every line of the log, at the finest level.
#[tokio::test]
async fn the_number_and_code_of_a_card_are_nowhere() {
    const CODE: &str = "918";
    let bench = Bench::over(Database::sqlite(), settings()).await;
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(log);
    tracing::warn!("the log is heard");
    for number in cards::numbers().chain(["5555555555554444", "4242424242424241"]) {
        let me = id("usr");
        let request = api::CreatePaymentMethodRequest {
            number: number.to_owned(),
            expire_month: 12,
            expire_year: 2099,
            security_code: CODE.to_owned(),
            request_id: request_id(),
        };
        let added = bench.service.create_payment_method(Request::new(request));
        let Ok(added) = answer(user_call(&me), added).await else { continue };
        let payment_method_id = added.payment_method.unwrap().id;
        let asked = api::ProcessPaymentRequest { owner_id: me, payment_method_id, ..purchase("10.00") };
        if number != "4000000000001018" {
            let _ = bench.process(asked.clone()).await;
            let _ = bench.capture(&asked.id, &shipment(), "", true).await;
        }
    }
    bench.later().await;
    bench.send_callbacks().await;
    drop(guard);

    let file = bench.database.url().strip_prefix("sqlite:").unwrap().to_owned();
    let mut kept = lines.0.lock().unwrap().clone();
    assert!(contains(&kept, b"the log is heard"));
    for name in [file.clone(), format!("{file}-wal")] {
        kept.extend(std::fs::read(name).unwrap_or_default());
    }
    // Something that is kept is found, so that the search is one.
    assert!(contains(&kept, b"simulator") && contains(&kept, b"4242"));
    for number in cards::numbers() {
        assert!(!contains(&kept, number.as_bytes()), "{number}");
        assert!(!contains(&kept, &number.as_bytes()[..12]), "{number}");
    }
    for code in [format!("security_code: \"{CODE}\""), format!("\"{CODE}\""), format!("={CODE} ")] {
        assert!(!contains(&kept, code.as_bytes()), "{code}");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_card_does_not_print() {
    install();
    assert_eq!(format!("{:?}", written("737")), "Card");
}

#[test]
fn check_digits_and_brands_are_seen_by_the_number() {
    for number in cards::numbers().chain(["5555555555554444", "378282246310005", "6011111111111117"]) {
        assert!(has_check_digit(number), "{number}");
        // One wrong digit is always seen.
        let (head, last) = number.split_at(number.len() - 1);
        let other = (last.parse::<u8>().unwrap() + 1) % 10;
        assert!(!has_check_digit(&format!("{head}{other}")), "{number}");
    }
    for wrong in ["", "424242424242424a", "4242 4242 4242 4242", "é"] {
        assert!(!has_check_digit(wrong));
    }
    let brands = [
        (GOOD, "visa"),
        ("5555555555554444", "mastercard"),
        ("2223003122003222", "mastercard"),
        ("378282246310005", "amex"),
        ("9", "unknown"),
    ];
    for (number, expected) in brands {
        assert_eq!(brand(number), expected);
    }
}

#[test]
fn every_test_card_is_written_down_for_its_users() {
    let page = include_str!("../../../../docs/TEST_CARDS.md");
    for number in cards::numbers() {
        assert!(page.contains(number), "docs/TEST_CARDS.md does not name {number}");
    }
    assert_eq!(page.matches("| `4").count(), cards::numbers().count());
}

async fn list(bench: &Bench, owner: &str) -> Vec<api::PaymentMethod> {
    let list = bench.service.list_payment_methods(Request::new(api::ListPaymentMethodsRequest {}));
    answer(user_call(owner), list).await.unwrap().payment_methods
}

async fn delete(bench: &Bench, owner: &str, id: &str) -> Result<(), Error> {
    let request = api::DeletePaymentMethodRequest { request_id: request_id(), id: id.to_owned() };
    answer(user_call(owner), bench.service.delete_payment_method(Request::new(request))).await.map(drop)
}
