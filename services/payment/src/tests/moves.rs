//! Every command in every state.

use contracts::r#type::v1::Reason;

use super::*;
use crate::{
    money::Currency,
    payment::{self, Attention, Command, Evidence, Fact, Payment, Release, declined},
    refund::{self, Refund},
};

use payment::State as S;

const NOW: Timestamp = Timestamp::from_seconds(2_000_000_000);
const UNTIL: Timestamp = Timestamp::from_seconds(2_000_600_000);

/// A payment of 10.00 by card, of which nothing was taken.
fn payment(state: S) -> Payment {
    install();
    let blank = Payment::unknown(id("pay"), id("ord"), id("usr"), NOW);
    Payment {
        state,
        provider: "simulator".to_owned(),
        currency: Currency { code: "USD".to_owned(), scale: 2 },
        amount: 1_000,
        expire_time: Some(UNTIL),
        sequence: 3,
        facts: 2,
        refusal: (state == S::Failed).then(|| declined("card_declined", "No.")),
        ..blank
    }
}

fn authorized() -> Command {
    Command::Learn(Evidence::Authorized { reference: "chg".to_owned(), expire_time: UNTIL })
}

fn action() -> Command {
    let (reference, url) = ("chg".to_owned(), "https://a".to_owned());
    Command::Learn(Evidence::ActionRequired { reference, url, expire_time: UNTIL })
}

fn refused() -> Command {
    Command::Learn(Evidence::Refused(declined("card_declined", "No.")))
}

fn refund(state: refund::State) -> Refund {
    Refund {
        id: id("rfd"),
        payment_id: id("pay"),
        order_id: id("ord"),
        owner: id("usr"),
        currency: Currency { code: "USD".to_owned(), scale: 2 },
        atoms: 100,
        state,
        reference: String::new(),
        automatic: false,
        refusal: None,
        sequence: 1,
        create_time: NOW,
        update_time: NOW,
    }
}

/// What a command does: leads to a state, changes nothing, or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    To(S),
    Nothing,
    No(Reason),
}

use Does::{No, Nothing, To};

const NO: Does = No(Reason::InvalidStateTransition);
const WAIT: Does = No(Reason::PaymentProcessing);
const ASK: Does = No(Reason::PaymentActionRequired);
const LEFT: Does = No(Reason::RefundExceedsCaptured);
const BUSY: Does = No(Reason::SerializationFailure);

fn does(payment: &Payment, command: &Command) -> Does {
    match payment.decide(command.clone(), NOW) {
        Ok(Some(step)) => {
            assert!(payment.state.leads_to(step.payment.state), "{:?} {command:?}", payment.state);
            assert_eq!((step.from, step.payment.sequence), (payment.state, payment.sequence + 1));
            assert_eq!(step.payment.facts, payment.facts + i64::try_from(step.facts.len()).unwrap());
            To(step.payment.state)
        }
        Ok(None) => Nothing,
        Err(error) => {
            let known = [
                Reason::InvalidStateTransition,
                Reason::PaymentProcessing,
                Reason::PaymentActionRequired,
                Reason::RefundExceedsCaptured,
                Reason::CaptureExceedsAuthorized,
                Reason::SerializationFailure,
                Reason::PaymentDeclined,
            ];
            let named = |reason: &&Reason| reason.as_str_name() == format!("REASON_{}", error.reason());
            No(*known.iter().find(named).unwrap())
        }
    }
}

#[test]
fn every_command_in_every_state_is_a_move_nothing_or_a_refusal() {
    let capture = |last| Command::Capture { atoms: 400, last, taken: 400 };
    let begin = |closing: bool| Command::BeginCapture { atoms: 400, last: !closing, closing };
    let end = |done| Command::EndCapture { atoms: 400, last: false, done };
    // Pending, RequiresAction, Processing, Authorized, Captured, Failed, Voided.
    let table: [(Command, [Does; 7]); 18] = [
        (Command::Ask, [To(S::Processing), NO, WAIT, NO, NO, NO, NO]),
        (
            authorized(),
            [
                To(S::Authorized),
                To(S::Authorized),
                To(S::Authorized),
                Nothing,
                Nothing,
                // It never resurrects: the provider is told to let go.
                To(S::Failed),
                To(S::Voided),
            ],
        ),
        (
            action(),
            [To(S::RequiresAction), To(S::RequiresAction), To(S::RequiresAction), Nothing, Nothing, Nothing, Nothing],
        ),
        (refused(), [To(S::Failed), To(S::Failed), To(S::Failed), Nothing, Nothing, Nothing, Nothing]),
        (Command::Learn(Evidence::Undecided), [Nothing; 7]),
        (Command::Confirm, [NO, To(S::Processing), WAIT, NO, NO, No(Reason::PaymentDeclined), NO]),
        (capture(false), [NO, ASK, WAIT, To(S::Authorized), NO, NO, NO]),
        (capture(true), [NO, ASK, WAIT, To(S::Captured), NO, NO, NO]),
        (begin(false), [NO, ASK, WAIT, To(S::Authorized), NO, NO, NO]),
        // While the last one is under way, nobody knows what is left.
        (begin(true), [NO, ASK, WAIT, BUSY, NO, NO, NO]),
        (end(true), [NO, NO, WAIT, To(S::Authorized), To(S::Captured), NO, NO]),
        (end(false), [NO, NO, WAIT, To(S::Authorized), To(S::Captured), NO, NO]),
        (
            Command::Void { taken: 0 },
            [To(S::Voided), To(S::Voided), To(S::Processing), To(S::Voided), Nothing, Nothing, Nothing],
        ),
        (Command::Expire { taken: 0 }, [NO, To(S::Failed), WAIT, To(S::Failed), NO, NO, NO]),
        (Command::Released, [Nothing; 7]),
        (Command::Refund { atoms: 100 }, [LEFT, LEFT, WAIT, LEFT, LEFT, LEFT, LEFT]),
        (
            Command::EndRefund(Box::new(refund(refund::State::Succeeded))),
            [NO, NO, WAIT, To(S::Authorized), To(S::Captured), NO, NO],
        ),
        (Command::EndRefund(Box::new(refund(refund::State::Processing))), [NO, NO, WAIT, Nothing, Nothing, NO, NO]),
    ];
    for (command, expected) in table {
        for (state, expected) in S::ALL.into_iter().zip(expected) {
            assert_eq!(does(&payment(state), &command), expected, "{state:?} {command:?}");
        }
    }
}

#[test]
fn ranks_never_fall_and_what_has_ended_stays_ended() {
    for from in S::ALL {
        for to in S::ALL {
            let legal = from.leads_to(to);
            if from.is_final() {
                assert_eq!(legal, from == to, "{from:?} {to:?}");
            }
            if from == S::Authorized || from.is_final() {
                assert!(!legal || !matches!(to, S::Pending | S::RequiresAction | S::Processing), "{from:?} {to:?}");
            }
        }
        assert_eq!(S::named(from.name()).unwrap(), from);
    }
    assert!(!S::Processing.leads_to(S::Voided), "only what a provider says ends what it was asked for");
    assert_eq!(S::named("LOST").unwrap_err().reason(), "INTERNAL");
}

#[test]
fn what_is_captured_never_exceeds_what_was_secured() {
    let half = Payment { captured: 400, ..payment(S::Authorized) };
    let take = |atoms| Command::Capture { atoms, last: false, taken: 400 + atoms };
    assert_eq!(does(&half, &take(600)), To(S::Captured));
    assert_eq!(does(&half, &take(599)), To(S::Authorized));
    for atoms in [601, 0, -1] {
        assert_eq!(does(&half, &take(atoms)), No(Reason::CaptureExceedsAuthorized));
    }
    let under_way = Payment { capturing: 300, ..half };
    assert_eq!((under_way.capturable(), does(&under_way, &take(301))), (300, No(Reason::CaptureExceedsAuthorized)));
}

#[test]
fn nothing_is_let_go_while_a_capture_is_under_way() {
    let card = Payment { capturing: 300, ..payment(S::Authorized) };
    let wallet = Payment { captured: 300, provider: payment::WALLET.to_owned(), ..payment(S::Authorized) };
    for (payment, taken) in [(card, 0), (wallet.clone(), 301)] {
        assert_eq!(does(&payment, &Command::Void { taken }), BUSY);
        assert_eq!(does(&payment, &Command::Expire { taken }), BUSY);
        let last = Command::Capture { atoms: 100, last: true, taken: taken + 100 };
        assert_eq!(does(&payment, &last), BUSY);
    }
    assert_eq!(does(&wallet, &Command::Void { taken: 300 }), To(S::Captured));
    assert_eq!(does(&wallet, &Command::Expire { taken: 300 }), To(S::Captured));
}

#[test]
fn only_providers_outside_of_the_house_are_told_to_let_go() {
    for (provider, release) in [("simulator", Release::Due), (payment::WALLET, Release::None), ("", Release::None)] {
        let payment = Payment { provider: provider.to_owned(), ..payment(S::Authorized) };
        let step = payment.decide(Command::Void { taken: 0 }, NOW).unwrap().unwrap();
        assert_eq!((step.payment.release, step.facts), (release, vec![Fact::Voided]));
    }
}

#[test]
fn a_late_success_is_given_back_once() {
    for state in [S::Failed, S::Voided] {
        let late = payment(state).decide(authorized(), NOW).unwrap().unwrap();
        assert_eq!((late.payment.state, late.payment.release, late.facts), (state, Release::Due, vec![]));
        assert_eq!(does(&late.payment, &authorized()), Nothing);
        assert_eq!(late.payment.attention(), Attention::Now);
        let released = late.payment.decide(Command::Released, NOW).unwrap().unwrap().payment;
        assert_eq!((released.release, released.attention()), (Release::Done, Attention::Never));
        assert_eq!((does(&released, &authorized()), does(&released, &Command::Released)), (Nothing, Nothing));
    }
}

#[test]
fn somebody_looks_after_whatever_is_not_at_rest() {
    let looks = [
        Attention::Never,
        Attention::At(UNTIL),
        Attention::Soon,
        Attention::At(UNTIL),
        Attention::Never,
        Attention::Never,
        Attention::Never,
    ];
    for (state, attention) in S::ALL.into_iter().zip(looks) {
        assert_eq!(payment(state).attention(), attention);
    }
}

#[test]
fn no_more_is_given_back_than_was_taken() {
    let taken = Payment { captured: 500, refunded: 200, ..payment(S::Captured) };
    let refused = taken.decide(Command::Refund { atoms: 301 }, NOW).unwrap_err();
    assert_eq!((refused.reason(), refused.metadata("remaining")), ("REFUND_EXCEEDS_CAPTURED", Some("3.00")));
    let step = taken.decide(Command::Refund { atoms: 300 }, NOW).unwrap().unwrap();
    assert_eq!((step.payment.refunded, step.facts.len()), (500, 0));
    let failed = Command::EndRefund(Box::new(refund(refund::State::Failed)));
    let back = step.payment.decide(failed, NOW).unwrap().unwrap();
    assert_eq!((back.payment.refunded, back.facts.len()), (400, 1));
}

#[test]
fn every_command_to_a_refund_in_every_state() {
    use refund::{Command as C, State as R};
    install();
    let fail = || C::Fail(declined("refund_refused", "No."));
    // Some(state): a move; None: nothing; Err: refused.
    type Decided = Result<Option<R>, ()>;
    let table: [(C, [Decided; 4]); 3] = [
        (C::Ask, [Ok(Some(R::Processing)), Ok(None), Err(()), Err(())]),
        (C::Succeed, [Err(()), Ok(Some(R::Succeeded)), Ok(None), Err(())]),
        (fail(), [Ok(Some(R::Failed)), Ok(Some(R::Failed)), Err(()), Ok(None)]),
    ];
    for (command, expected) in table {
        for (state, expected) in R::ALL.into_iter().zip(expected) {
            let decided = refund(state).decide(command.clone(), NOW);
            if let Ok(Some(after)) = &decided {
                assert!(state.leads_to(after.state) && after.sequence == 2);
            }
            if let Err(error) = &decided {
                assert_eq!((error.reason(), error.metadata("from")), ("INVALID_STATE_TRANSITION", Some(state.name())));
            }
            let decided = decided.map(|after| after.map(|after| after.state)).map_err(drop);
            assert_eq!(decided, expected, "{state:?} {command:?}");
        }
    }
    for state in R::ALL {
        assert_eq!(R::named(state.name()).unwrap(), state);
    }
}
