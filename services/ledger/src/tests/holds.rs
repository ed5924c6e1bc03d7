//! What payment sees of holds.

use contracts::ledger::v1::hold::State;
use kit::drain::Drain;
use storage::{Unit, testing::each_database};

use super::*;

impl Bench {
    pub async fn create_hold(&self, request: api::CreateHoldRequest) -> Result<api::Hold, Error> {
        let reply = self.as_service("payment", self.service.create_hold(Request::new(request))).await?;
        Ok(reply.hold.unwrap())
    }

    pub async fn post_hold(&self, request: api::PostHoldRequest) -> Result<api::PostHoldResponse, Error> {
        self.as_service("payment", self.service.post_hold(Request::new(request))).await
    }

    pub async fn void_hold(&self, id: &str) -> Result<api::Hold, Error> {
        let request = api::VoidHoldRequest { id: id.to_owned() };
        let reply = self.as_service("payment", self.service.void_hold(Request::new(request))).await?;
        Ok(reply.hold.unwrap())
    }

    pub async fn get_hold(&self, id: &str) -> Result<api::Hold, Error> {
        let request = api::GetHoldRequest { id: id.to_owned() };
        let reply = self.as_service("order", self.service.get_hold(Request::new(request))).await?;
        Ok(reply.hold.unwrap())
    }

    /// Someone with this much money, of whom `value` is held.
    pub async fn holding(&self, has: &str, value: &str) -> (String, api::Hold) {
        let me = user();
        self.deposit(&me, has).await.unwrap();
        let hold = self.create_hold(wanted(&me, value)).await.unwrap();
        (me, hold)
    }
}

pub fn wanted(owner: &str, value: &str) -> api::CreateHoldRequest {
    api::CreateHoldRequest {
        id: kit::id::new("hld", Timestamp::from_seconds(1)),
        owner_id: owner.to_owned(),
        amount: amount(value, "USD"),
        reference: kit::id::new("pay", Timestamp::from_seconds(1)),
        expire_time: None,
    }
}

/// Asks for a part, or for everything where `value` is empty.
pub fn part(hold: &str, value: &str, last: bool) -> api::PostHoldRequest {
    api::PostHoldRequest {
        id: hold.to_owned(),
        transaction_id: kit::id::new("txn", Timestamp::from_seconds(1)),
        amount: (!value.is_empty()).then(|| amount(value, "USD")).flatten(),
        to_account: "house/sales".to_owned(),
        kind: "purchase".to_owned(),
        r#final: last,
    }
}

/// The state, and how much of it was moved.
fn shown(hold: &api::Hold) -> String {
    let value = |amount: &Option<Amount>| amount.as_ref().map(|amount| amount.value.clone()).unwrap_or_default();
    format!("{:?}: {} of {}", hold.state(), value(&hold.posted), value(&hold.amount))
}

#[tokio::test]
async fn what_is_held_moves_in_parts_and_the_rest_is_available_again() {
    for bench in Bench::each().await {
        let (me, hold) = bench.holding("100", "80").await;
        assert_eq!(shown(&hold), "Held: 0.00 of 80.00");
        assert_eq!(bench.balance(&me, "USD").await, ["100.00", "80.00", "20.00"]);
        let first = bench.post_hold(part(&hold.id, "30", false)).await.unwrap();
        assert_eq!(shown(first.hold.as_ref().unwrap()), "Held: 30.00 of 80.00");
        let transaction = first.transaction.unwrap();
        assert_eq!((transaction.kind.as_str(), &transaction.reference), ("purchase", &hold.reference));
        assert_eq!(transaction.entries[1].owner, "house/sales");
        assert_eq!(bench.balance(&me, "USD").await, ["70.00", "50.00", "20.00"]);
        let second = bench.post_hold(part(&hold.id, "40", true)).await.unwrap();
        assert_eq!(shown(second.hold.as_ref().unwrap()), "Posted: 70.00 of 80.00");
        assert_eq!(bench.balance(&me, "USD").await, ["30.00", "0.00", "30.00"]);
        let error = bench.post_hold(part(&hold.id, "1", false)).await.unwrap_err();
        assert_eq!(error.reason(), "HOLD_ALREADY_POSTED");
        assert_eq!(bench.void_hold(&hold.id).await.unwrap_err().reason(), "HOLD_ALREADY_POSTED");
        assert_eq!(bench.get_hold(&hold.id).await.unwrap(), second.hold.unwrap());
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn without_an_amount_everything_moves() {
    for bench in Bench::each().await {
        let (me, hold) = bench.holding("100", "80").await;
        let reply = bench.post_hold(part(&hold.id, "", false)).await.unwrap();
        assert_eq!(shown(reply.hold.as_ref().unwrap()), "Posted: 80.00 of 80.00");
        assert_eq!(bench.balance(&me, "USD").await, ["20.00", "0.00", "20.00"]);
    }
}

#[tokio::test]
async fn a_repeat_gets_what_there_is_and_another_content_is_refused() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let request = wanted(&me, "80");
        let hold = bench.create_hold(request.clone()).await.unwrap();
        assert_eq!(bench.create_hold(request.clone()).await.unwrap(), hold);
        let other = api::CreateHoldRequest { amount: amount("81", "USD"), ..request.clone() };
        assert_eq!(bench.create_hold(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        let (early, last) = (part(&hold.id, "30", false), part(&hold.id, "30", true));
        let posted = bench.post_hold(early.clone()).await.unwrap();
        assert_eq!(bench.post_hold(early.clone()).await.unwrap(), posted);
        let ended = bench.post_hold(last.clone()).await.unwrap();
        assert_eq!(bench.post_hold(last.clone()).await.unwrap(), ended);
        assert_eq!(bench.post_hold(early.clone()).await.unwrap().transaction, posted.transaction);
        for other in [
            api::PostHoldRequest { amount: amount("29", "USD"), ..early.clone() },
            api::PostHoldRequest { amount: None, ..early.clone() },
            api::PostHoldRequest { r#final: true, ..early.clone() },
            api::PostHoldRequest { kind: "other".to_owned(), ..early },
        ] {
            assert_eq!(bench.post_hold(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        }
        assert_eq!(bench.create_hold(request).await.unwrap(), ended.hold.unwrap());
        assert_eq!(bench.balance(&me, "USD").await, ["40.00", "0.00", "40.00"]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn nobody_holds_or_moves_more_than_there_is() {
    for bench in Bench::each().await {
        let (me, hold) = bench.holding("100", "80").await;
        let error = bench.create_hold(wanted(&me, "20.01")).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("available")), ("INSUFFICIENT_FUNDS", Some("20.00")));
        let bitcoin = api::CreateHoldRequest { amount: amount("1", "BTC"), ..wanted(&me, "1") };
        assert_eq!(bench.create_hold(bitcoin).await.unwrap_err().reason(), "INSUFFICIENT_HOLDINGS");
        for (request, reason) in [
            (part(&hold.id, "80.01", false), "EXCEEDS_HOLD"),
            (part(&hold.id, "0", false), "AMOUNT_OUT_OF_RANGE"),
            (part(&hold.id, "0.001", false), "SCALE_EXCEEDED"),
            (api::PostHoldRequest { amount: amount("1", "BTC"), ..part(&hold.id, "1", false) }, "UNIT_MISMATCH"),
            (part(&kit::id::new("hld", Timestamp::default()), "1", false), "RESOURCE_NOT_FOUND"),
            (part(&kit::id::new("hld", Timestamp::default()), "", false), "RESOURCE_NOT_FOUND"),
        ] {
            assert_eq!(bench.post_hold(request).await.unwrap_err().reason(), reason);
        }
        assert_eq!(bench.create_hold(wanted(&me, "-1")).await.unwrap_err().reason(), "AMOUNT_OUT_OF_RANGE");
        assert_eq!(bench.get_hold(&hold.id).await.unwrap(), hold);
        assert_eq!(bench.balance(&me, "USD").await, ["100.00", "80.00", "20.00"]);
    }
}

#[tokio::test]
async fn what_was_voided_is_available_and_cannot_be_moved() {
    for bench in Bench::each().await {
        let (me, hold) = bench.holding("100", "80").await;
        bench.post_hold(part(&hold.id, "30", false)).await.unwrap();
        let voided = bench.void_hold(&hold.id).await.unwrap();
        assert_eq!(shown(&voided), "Voided: 30.00 of 80.00");
        assert_eq!(bench.void_hold(&hold.id).await.unwrap(), voided);
        for value in ["1", ""] {
            let error = bench.post_hold(part(&hold.id, value, true)).await.unwrap_err();
            assert_eq!(error.reason(), "HOLD_ALREADY_VOIDED");
        }
        assert_eq!(bench.balance(&me, "USD").await, ["70.00", "0.00", "70.00"]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_hold_that_was_voided_before_it_was_made_is_never_made() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let request = wanted(&me, "80");
        let tombstone = bench.void_hold(&request.id).await.unwrap();
        assert_eq!((tombstone.state(), tombstone.owner_id.as_str()), (State::Voided, ""));
        assert_eq!((&tombstone.amount, &tombstone.posted), (&None, &None));
        assert_eq!(bench.void_hold(&request.id).await.unwrap(), tombstone);
        assert_eq!(bench.get_hold(&request.id).await.unwrap(), tombstone);
        for value in ["1", ""] {
            let error = bench.post_hold(part(&request.id, value, true)).await.unwrap_err();
            assert_eq!(error.reason(), "HOLD_ALREADY_VOIDED");
        }
        assert_eq!(bench.create_hold(request).await.unwrap_err().reason(), "HOLD_ALREADY_VOIDED");
        assert_eq!(bench.balance(&me, "USD").await, ["100.00", "0.00", "100.00"]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_hold_that_nobody_wanted_in_time_ends_by_itself() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let expire_time = Some((bench.clock.now() + Duration::from_secs(60)).to_proto());
        let request = api::CreateHoldRequest { expire_time, ..wanted(&me, "80") };
        let hold = bench.create_hold(request.clone()).await.unwrap();
        let forever = bench.create_hold(wanted(&me, "5")).await.unwrap();
        bench.clock.advance(Duration::from_micros(59_999_999));
        let early = part(&hold.id, "10", false);
        bench.post_hold(early.clone()).await.unwrap();
        bench.clock.advance(Duration::from_micros(1));
        // Before any sweep: the time itself decides.
        assert_eq!(bench.post_hold(part(&hold.id, "10", false)).await.unwrap_err().reason(), "HOLD_EXPIRED");
        assert_eq!(bench.post_hold(early).await.unwrap().hold.unwrap().state(), State::Held);
        let late = api::CreateHoldRequest { id: kit::id::new("hld", Timestamp::default()), ..request.clone() };
        assert_eq!(bench.create_hold(late).await.unwrap_err().reason(), "HOLD_EXPIRED");
        let (drain, draining) = Drain::new();
        let sweeper = tokio::spawn({
            let service = bench.service.clone();
            async move { crate::sweep::run(&service, &draining).await }
        });
        eventually(async || bench.get_hold(&hold.id).await.unwrap().state() == State::Expired).await;
        drain.start();
        sweeper.await.unwrap();
        assert_eq!(bench.balance(&me, "USD").await, ["90.00", "5.00", "85.00"]);
        assert_eq!(bench.get_hold(&forever.id).await.unwrap(), forever);
        assert_eq!(bench.void_hold(&hold.id).await.unwrap().state(), State::Expired);
        assert_eq!(bench.create_hold(request).await.unwrap().state(), State::Expired);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn the_hold_of_a_withdrawal_ends_with_it_and_by_nobody_else() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let withdrawal = bench.withdraw(&me, "40").await.unwrap();
        let list = Request::new(api::ListHoldsRequest::default());
        let holds = bench.as_service("ops", bench.service.list_holds(list)).await.unwrap().holds;
        let [hold] = holds.as_slice() else { panic!("one hold") };
        assert_eq!((shown(hold).as_str(), &hold.reference), ("Held: 0.00 of 40.00", &withdrawal.id));
        for error in [
            bench.void_hold(&hold.id).await.unwrap_err(),
            bench.post_hold(part(&hold.id, "1", true)).await.unwrap_err(),
        ] {
            assert_eq!(error.reason(), "INVALID_STATE_TRANSITION");
        }
        let forged = api::CreateHoldRequest { reference: withdrawal.id, ..wanted(&me, "1") };
        assert_eq!(bench.create_hold(forged).await.unwrap_err().reason(), "INVALID_FIELD");
    }
}

#[tokio::test]
async fn pages_of_holds_have_everything_once_newest_first() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        let mut made = Vec::new();
        for number in 0..7 {
            let hold = bench.create_hold(wanted(&me, "1")).await.unwrap();
            if number % 3 == 0 {
                bench.void_hold(&hold.id).await.unwrap();
            }
            made.insert(0, hold.id);
            bench.clock.advance(Duration::from_millis(1));
        }
        let pages = async |state: State| {
            let (mut ids, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = api::ListHoldsRequest { page_size: 2, page_token, state: state.into() };
                let reply = bench.as_service("ops", bench.service.list_holds(Request::new(request))).await.unwrap();
                ids.extend(reply.holds.into_iter().map(|hold| hold.id));
                page_token = reply.next_page_token;
                if page_token.is_empty() {
                    return ids;
                }
            }
        };
        assert_eq!(pages(State::Unspecified).await, made);
        let voided = pages(State::Voided).await;
        assert_eq!(voided, [made[0].clone(), made[3].clone(), made[6].clone()]);
        assert_eq!(pages(State::Held).await.len(), 4);
        assert!(pages(State::Expired).await.is_empty());
    }
}

#[tokio::test]
async fn a_hold_costs_one_commit_and_few_statements() {
    for bench in Bench::each().await {
        let (me, first) = bench.holding("100", "10").await;
        bench.post_hold(part(&first.id, "10", true)).await.unwrap();
        let before = bench.db.stats();
        let hold = bench.create_hold(wanted(&me, "10")).await.unwrap();
        let created = bench.db.stats();
        bench.post_hold(part(&hold.id, "10", true)).await.unwrap();
        let posted = bench.db.stats();
        assert_eq!((created.commits - before.commits, posted.commits - created.commits), (1, 1));
        let statements = (created.statements - before.statements, posted.statements - created.statements);
        assert_eq!(statements, (4, 8));
    }
}

#[tokio::test]
async fn a_planted_fault_of_holds_is_found_when_the_books_are_added_up() {
    const FAULTS: [&str; 5] = [
        "UPDATE holds SET posted = posted + 1 WHERE state = 'HELD'",
        "UPDATE holds SET state = 'VOIDED' WHERE state = 'HELD'",
        "UPDATE holds SET posted = posted - 1 WHERE state = 'POSTED'",
        "UPDATE transactions SET hold_id = NULL",
        "DELETE FROM holds",
    ];
    for fault in FAULTS {
        for bench in Bench::each().await {
            let (me, hold) = bench.holding("100", "10").await;
            bench.post_hold(part(&hold.id, "5", true)).await.unwrap();
            let hold = bench.create_hold(wanted(&me, "10")).await.unwrap();
            bench.post_hold(part(&hold.id, "5", false)).await.unwrap();
            assert!(bench.verify().await.holds);
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
            assert!(!bench.verify().await.holds, "{fault}");
        }
    }
}

/// T-UPGRADE.
#[tokio::test]
async fn books_from_before_holds_were_shown_add_up_afterwards() {
    const OLD: [&str; 6] = [
        "INSERT INTO accounts VALUES ('usr_1', 'USD', 60, 10, 1, 0, 0, 3), ('house/bank#01', 'USD', -60, 0, 0, 0, 0, 3)",
        "INSERT INTO transactions VALUES ('txn_1', 'deposit', 'dep_1', 1), ('txn_2', 'withdrawal', 'wdl_1', 2)",
        "INSERT INTO entries VALUES ('usr_1', 1, 'txn_1', 1, 'USD', 100, 100), ('house/bank#01', 1, 'txn_1', 2, 'USD', -100, -100)",
        "INSERT INTO entries VALUES ('usr_1', 2, 'txn_2', 1, 'USD', -40, 60), ('house/bank#01', 2, 'txn_2', 2, 'USD', 40, -60)",
        "INSERT INTO holds VALUES ('hld_1', 'usr_1', 'USD', 40, 'POSTED', 1, 2), ('hld_2', 'usr_1', 'USD', 10, 'HELD', 3, 3)",
        "INSERT INTO withdrawals VALUES ('wdl_1', 'usr_1', 'USD', 40, 'hld_1', 'SETTLED', 1, 2),
            ('wdl_2', 'usr_1', 'USD', 10, 'hld_2', 'HELD', 3, 3)",
    ];
    install();
    for database in each_database().await {
        let options = || Options::new("ledger", Clock::manual(Timestamp::from_seconds(1)));
        let old = Db::open(database.url(), Options { migrations: &MIGRATIONS[..1], ..options() }).await.unwrap();
        for sql in OLD {
            old.write(async |unit: &mut Unit| unit.exec(sql, &[]).await).await.unwrap();
        }
        drop(old);
        let bench = Bench::over(database, links()).await;
        assert!(bench.verify().await.holds);
        let hold = bench.get_hold("hld_1").await.unwrap();
        assert_eq!((shown(&hold).as_str(), hold.reference.as_str()), ("Posted: 0.40 of 0.40", "wdl_1"));
    }
}
