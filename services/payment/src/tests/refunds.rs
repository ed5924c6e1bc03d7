//! Giving money back.

use super::*;

type Refunded = api::refund::State;

#[tokio::test]
async fn money_is_given_back_in_parts_and_told_in_order() {
    for bench in Bench::each().await {
        let wallet = purchase("10.00");
        bench.process(wallet.clone()).await.unwrap();
        bench.capture(&wallet.id, &shipment(), "6.00", true).await.unwrap();
        let card = bench.card(GOOD).await;
        bench.process(card.clone()).await.unwrap();
        bench.capture(&card.id, &shipment(), "6.00", false).await.unwrap();
        for asked in [&wallet, &card] {
            let refund = bench.refund(&asked.id, "2.50").await.unwrap();
            assert_eq!((refund.state(), refund.owner_id.as_str()), (Refunded::Succeeded, asked.owner_id.as_str()));
            assert_eq!((refund.order_id.as_str(), refund.reference.as_str()), (asked.order_id.as_str(), "a note"));
            assert_eq!(bench.path(&refund.id).await, ["PENDING", "PROCESSING", "SUCCEEDED"]);
            let rest = bench.refund(&asked.id, "").await.unwrap();
            assert_eq!(rest.amount, amount("3.50"));
            let refused = bench.refund(&asked.id, "0.01").await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("remaining")), ("REFUND_EXCEEDS_CAPTURED", Some("0.00")));
            assert_eq!(bench.figures(&asked.id).await[2], "6.00");
            let facts = bench.facts(&asked.id).await;
            assert!(facts.ends_with(&["RefundSucceeded".to_owned(), "RefundSucceeded".to_owned()]), "{facts:?}");
        }
        assert_eq!(bench.ledger.refunded(), 600);
        assert_eq!(bench.number("SELECT CAST(SUM(refunded) AS BIGINT) FROM simulator_charges").await, 600);
        // The callbacks about the refunds are old news.
        assert_eq!((bench.send_callbacks().await, bench.later().await), (3, 0));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_repeat_gives_the_same_refund_and_another_content_is_refused() {
    for bench in Bench::each().await {
        let payment = bench.captured().await;
        let request = refund_of(&payment.id, "4.00");
        let refund = bench.ask_refund(request.clone()).await.unwrap();
        assert_eq!(bench.ask_refund(request.clone()).await.unwrap(), refund);
        let other = api::CreateRefundRequest { amount: amount("5.00"), ..request };
        assert_eq!(bench.ask_refund(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        let too_much = refund_of(&payment.id, "6.01");
        for _ in 0..2 {
            let refused = bench.ask_refund(too_much.clone()).await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("remaining")), ("REFUND_EXCEEDS_CAPTURED", Some("6.00")));
        }
        assert_eq!(bench.figures(&payment.id).await[2], "4.00");
        assert_eq!(bench.number("SELECT COUNT(*) FROM refunds").await, 1);
        bench.assert_sound().await;
    }
}

/// Keys are swept after a week, and a repeat may come later than that.
#[tokio::test]
async fn a_repeat_that_comes_when_its_key_is_gone_gives_no_money_twice() {
    for bench in Bench::each().await {
        let (payment, another) = (bench.captured().await, bench.captured().await);
        let (request, rest) = (refund_of(&payment.id, "4.00"), refund_of(&another.id, ""));
        for request in [&request, &rest] {
            let refund = bench.ask_refund(request.clone()).await.unwrap();
            bench.run_sql("DELETE FROM idempotency_keys").await;
            assert_eq!(bench.ask_refund(request.clone()).await.unwrap(), refund);
        }
        let others = [
            api::CreateRefundRequest { amount: amount("1.00"), ..request.clone() },
            api::CreateRefundRequest { reference: "another note".to_owned(), ..request.clone() },
            api::CreateRefundRequest { payment_id: another.id.clone(), ..request.clone() },
        ];
        for other in others {
            bench.run_sql("DELETE FROM idempotency_keys").await;
            assert_eq!(bench.ask_refund(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        }
        assert_eq!(bench.figures(&payment.id).await[2], "4.00");
        assert_eq!(bench.number("SELECT CAST(SUM(refunded) AS BIGINT) FROM simulator_charges").await, 1_400);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_is_told_how_the_refund_ended() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001026").await;
        bench.process(asked.clone()).await.unwrap();
        bench.later().await;
        let first = shipment();
        bench.capture(&asked.id, &first, "", true).await.unwrap_err();
        bench.capture(&asked.id, &first, "", true).await.unwrap();
        let request = refund_of(&asked.id, "4.00");
        assert_eq!(bench.ask_refund(request.clone()).await.unwrap().state(), Refunded::Processing);
        assert_eq!(bench.ask_refund(request).await.unwrap().state(), Refunded::Succeeded);
        assert_eq!(bench.number("SELECT CAST(SUM(refunded) AS BIGINT) FROM simulator_charges").await, 400);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_refused_refund_can_be_asked_for_again() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001091").await;
        bench.process(asked.clone()).await.unwrap();
        bench.capture(&asked.id, &shipment(), "", true).await.unwrap();
        for _ in 0..2 {
            let refund = bench.refund(&asked.id, "10.00").await.unwrap();
            assert_eq!((refund.state(), refund.decline.unwrap().code.as_str()), (Refunded::Failed, "refund_refused"));
            assert_eq!(bench.path(&refund.id).await, ["PENDING", "PROCESSING", "FAILED"]);
        }
        assert_eq!(bench.figures(&asked.id).await, ["10.00", "0.00", "0.00"]);
        let facts = bench.facts(&asked.id).await;
        assert_eq!(facts[3..], ["RefundFailed", "RefundFailed"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn what_was_not_taken_cannot_be_given_back() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        bench.process(asked.clone()).await.unwrap();
        for value in ["", "1.00"] {
            let refused = bench.refund(&asked.id, value).await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("remaining")), ("REFUND_EXCEEDS_CAPTURED", Some("0.00")));
        }
        assert_eq!(bench.refund(&id("pay"), "").await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let yen = api::CreateRefundRequest {
            amount: Some(Amount { value: "1".to_owned(), unit: "JPY".to_owned() }),
            ..refund_of(&asked.id, "")
        };
        let refused = bench.ask_refund(yen).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("field")), ("UNIT_MISMATCH", Some("amount.unit")));
        for (value, reason) in [("-1.00", "AMOUNT_OUT_OF_RANGE"), ("0.001", "SCALE_EXCEEDED")] {
            let refused = bench.refund(&asked.id, value).await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("field")), (reason, Some("amount.value")));
        }
    }
}

#[tokio::test]
async fn amounts_have_the_decimals_of_their_currency() {
    for bench in Bench::each().await {
        let amount = Some(Amount { value: "1500".to_owned(), unit: "JPY".to_owned() });
        let asked = bench.card(GOOD).await;
        let asked = api::ProcessPaymentRequest { amount, ..asked };
        assert_eq!(bench.process(asked.clone()).await.unwrap().amount, asked.amount);
        bench.capture(&asked.id, &shipment(), "", true).await.unwrap();
        let half = api::CreateRefundRequest {
            amount: Some(Amount { value: "0.5".to_owned(), unit: "JPY".to_owned() }),
            ..refund_of(&asked.id, "")
        };
        assert_eq!(bench.ask_refund(half).await.unwrap_err().reason(), "SCALE_EXCEEDED");
        assert_eq!(bench.figures(&asked.id).await, ["1500", "0", "0"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn everyone_sees_their_own_and_support_sees_all() {
    for bench in Bench::each().await {
        let mut payments = Vec::new();
        for _ in 0..3 {
            let payment = bench.captured().await;
            let refund = bench.refund(&payment.id, "1.00").await.unwrap();
            payments.push((payment, refund));
            bench.clock.advance(Duration::from_millis(5));
        }
        let (payment, refund) = &payments[0];
        let service = &bench.service;
        for (call, seen) in [(user_call(&payment.owner_id), true), (user_call(&id("usr")), false), (order_call(), true)]
        {
            let request = Request::new(api::GetPaymentRequest { id: payment.id.clone() });
            let found = answer(call.clone(), service.get_payment(request)).await;
            assert_eq!(found.map_err(|error| error.reason().to_owned()).map(drop), reason(seen));
            let request = Request::new(api::GetRefundRequest { id: refund.id.clone() });
            let found = answer(call, service.get_refund(request)).await;
            assert_eq!(found.map_err(|error| error.reason().to_owned()).map(drop), reason(seen));
        }
        for (call, count) in [(user_call(&payment.owner_id), 1), (user_call(&id("usr")), 0), (order_call(), 3)] {
            assert_eq!(pages(&bench, &call, String::new(), State::Unspecified).await.len(), count);
            assert_eq!(refunds(&bench, &call, "").await.len(), count);
        }
        let newest_first: Vec<_> = payments.iter().rev().map(|(payment, _)| payment.id.clone()).collect();
        assert_eq!(pages(&bench, &order_call(), String::new(), State::Unspecified).await, newest_first);
        let newest_first: Vec<_> = payments.iter().rev().map(|(_, refund)| refund.id.clone()).collect();
        assert_eq!(refunds(&bench, &order_call(), "").await, newest_first);
        assert_eq!(refunds(&bench, &order_call(), &payment.id).await, [refund.id.as_str()]);
        let of_order = pages(&bench, &order_call(), payment.order_id.clone(), State::Captured).await;
        assert_eq!(of_order, [payment.id.as_str()]);
        assert!(pages(&bench, &order_call(), payment.order_id.clone(), State::Failed).await.is_empty());
    }
}

fn reason(seen: bool) -> Result<(), String> {
    if seen { Ok(()) } else { Err("RESOURCE_NOT_FOUND".to_owned()) }
}

/// The ids of every page, two on each.
async fn pages(bench: &Bench, call: &Call, order_id: String, state: State) -> Vec<String> {
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let (order_id, state) = (order_id.clone(), state.into());
        let request = Request::new(api::ListPaymentsRequest { page_size: 2, page_token, order_id, state });
        let page = answer(call.clone(), bench.service.list_payments(request)).await.unwrap();
        assert!(page.payments.len() <= 2);
        ids.extend(page.payments.into_iter().map(|payment| payment.id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        let other = api::ListPaymentsRequest {
            page_token: page.next_page_token.clone(),
            order_id: id("ord"),
            ..Default::default()
        };
        let refused = answer(call.clone(), bench.service.list_payments(Request::new(other))).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
        page_token = page.next_page_token;
    }
}

async fn refunds(bench: &Bench, call: &Call, payment_id: &str) -> Vec<String> {
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let payment_id = payment_id.to_owned();
        let request = Request::new(api::ListRefundsRequest { page_size: 2, page_token, payment_id });
        let page = answer(call.clone(), bench.service.list_refunds(request)).await.unwrap();
        ids.extend(page.refunds.into_iter().map(|refund| refund.id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        page_token = page.next_page_token;
    }
}
