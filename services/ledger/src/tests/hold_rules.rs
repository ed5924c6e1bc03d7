//! The pure rules of a hold: every state with every command.

use super::*;
use crate::hold::{Command, Hold, State, Step};

fn now() -> Timestamp {
    Timestamp::from_seconds(1_000)
}

/// A hold of 100, of which 30 were moved, in this state.
fn hold(state: State, expire_time: Option<i64>) -> Hold {
    Hold {
        id: "hld_1".to_owned(),
        owner: "usr_1".to_owned(),
        code: "USD".to_owned(),
        atoms: 100,
        posted: 30,
        state,
        reference: "pay_1".to_owned(),
        expire_time: expire_time.map(Timestamp::from_micros),
        create_time: Timestamp::default(),
        update_time: Timestamp::default(),
    }
}

const fn post(atoms: Option<i64>, last: bool) -> Command {
    Command::Post { atoms, last }
}

#[test]
fn a_hold_moves_in_parts_and_ends_once() {
    install();
    use Command::{Expire, Void};
    use State::{Expired, Held, Posted, Voided};
    /// State, posted, moved, freed; or the reason of the refusal.
    type Outcome = Result<(State, i64, i64, i64), &'static str>;
    let table: [(State, Command, Outcome); 21] = [
        (Held, post(Some(20), false), Ok((Held, 50, 20, 0))),
        (Held, post(Some(20), true), Ok((Posted, 50, 20, 50))),
        (Held, post(Some(70), false), Ok((Posted, 100, 70, 0))),
        (Held, post(Some(70), true), Ok((Posted, 100, 70, 0))),
        (Held, post(None, false), Ok((Posted, 100, 70, 0))),
        (Held, post(None, true), Ok((Posted, 100, 70, 0))),
        (Held, post(Some(71), false), Err("EXCEEDS_HOLD")),
        (Held, post(Some(i64::MAX), true), Err("EXCEEDS_HOLD")),
        (Held, post(Some(0), true), Err("AMOUNT_OUT_OF_RANGE")),
        (Held, post(Some(-1), false), Err("AMOUNT_OUT_OF_RANGE")),
        (Held, Void, Ok((Voided, 30, 0, 70))),
        (Held, Expire, Err("INVALID_STATE_TRANSITION")),
        (Posted, post(None, true), Err("HOLD_ALREADY_POSTED")),
        (Posted, Void, Err("HOLD_ALREADY_POSTED")),
        (Posted, Expire, Err("HOLD_ALREADY_POSTED")),
        (Voided, post(None, true), Err("HOLD_ALREADY_VOIDED")),
        (Voided, Void, Ok((Voided, 30, 0, 0))),
        (Voided, Expire, Err("HOLD_ALREADY_VOIDED")),
        (Expired, post(None, true), Err("HOLD_EXPIRED")),
        (Expired, Void, Ok((Expired, 30, 0, 0))),
        (Expired, Expire, Err("HOLD_EXPIRED")),
    ];
    for (state, command, expected) in table {
        for expire_time in [None, Some(now().micros() + 1)] {
            let decided = hold(state, expire_time).decide(command, now());
            let outcome = match &decided {
                Ok(Step { hold, moved, freed }) => Ok((hold.state, hold.posted, *moved, *freed)),
                Err(error) => Err(error.reason()),
            };
            assert_eq!(outcome, expected, "{state:?} {command:?}");
        }
    }
}

#[test]
fn when_its_time_is_over_a_hold_moves_no_more() {
    install();
    for expire_time in [now().micros(), now().micros() - 1] {
        let held = hold(State::Held, Some(expire_time));
        assert_eq!(held.decide(post(Some(1), false), now()).unwrap_err().reason(), "HOLD_EXPIRED");
        let expired = held.decide(Command::Expire, now()).unwrap();
        assert_eq!((expired.hold.state, expired.moved, expired.freed), (State::Expired, 0, 70));
        assert_eq!(held.decide(Command::Void, now()).unwrap().freed, 70);
    }
}

#[test]
fn a_step_that_changes_nothing_says_so() {
    install();
    for state in [State::Voided, State::Expired] {
        let ended = hold(state, None);
        assert_eq!(ended.decide(Command::Void, now()).unwrap().hold, ended);
    }
}

#[test]
fn every_state_is_found_by_its_name() {
    install();
    for state in [State::Held, State::Posted, State::Voided, State::Expired] {
        assert_eq!(State::named(state.name()).unwrap(), state);
    }
    assert_eq!(State::named("LOST").unwrap_err().reason(), "INTERNAL");
}

#[test]
fn a_hold_answers_a_repeat_and_no_other_request() {
    install();
    let made = hold(State::Posted, Some(5));
    let wanted = Hold { state: State::Held, posted: 0, create_time: now(), ..made.clone() };
    made.answers(&wanted).unwrap();
    for other in [
        Hold { owner: "usr_2".to_owned(), ..wanted.clone() },
        Hold { code: "BTC".to_owned(), ..wanted.clone() },
        Hold { atoms: 99, ..wanted.clone() },
        Hold { reference: "pay_2".to_owned(), ..wanted.clone() },
        Hold { expire_time: None, ..wanted.clone() },
    ] {
        assert_eq!(made.answers(&other).unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
    }
    let tombstone = Hold::tombstone("hld_1", now());
    assert_eq!(tombstone.answers(&wanted).unwrap_err().reason(), "HOLD_ALREADY_VOIDED");
}
