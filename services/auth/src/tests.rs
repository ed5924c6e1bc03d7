//! The service as its callers meet it, on both databases.

mod house;

use contracts::{
    auth::v1::{auth_service_server::AuthService, *},
    user::v1::{PasswordChanged, UserEvent, user_event},
};
use futures::StreamExt;
use kit::{config::Secret, drain::Drain};
use storage::{Fact, Log, relay, testing::each_database};
use tonic::Request;

pub use self::house::install_contract;
use self::house::{ALICE, BOB, House, RIGHT, SECOND, as_session, login, reason, settings, told};
use crate::{Settings, grant, store};

#[tokio::test]
async fn a_login_gives_tokens_that_everyone_can_verify() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let tokens = house.login(RIGHT).await.unwrap();
        let caller = house.verifier.verify(&tokens.access_token).unwrap();
        assert_eq!((caller.user.as_str(), &caller.session), (ALICE, &tokens.session_id));
        assert_eq!(caller.roles, ["customer"]);
        assert_eq!((tokens.token_type.as_str(), tokens.expires_in), ("Bearer", 600));
        house.clock.advance(SECOND * 600);
        assert_eq!(house.verdict(&tokens), "TOKEN_EXPIRED");
    }
}

#[tokio::test]
async fn a_refresh_token_works_once_and_a_second_use_ends_the_session() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let first = house.login(RIGHT).await.unwrap();
        house.clock.advance(SECOND * 590);
        let second = house.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(second.session_id, first.session_id);
        assert_eq!(house.verdict(&second), "good");
        assert_eq!(reason(house.refresh(&first.refresh_token).await), "TOKEN_REVOKED");
        assert_eq!(reason(house.refresh(&second.refresh_token).await), "TOKEN_REVOKED");
        house.hear().await;
        assert_eq!(house.verdict(&second), "TOKEN_REVOKED");
        assert_eq!(reason(house.refresh("never issued").await), "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn of_many_who_use_a_refresh_token_at_once_at_most_one_succeeds_and_none_keeps_the_session() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let tokens = house.login(RIGHT).await.unwrap();
        let refreshed = futures::future::join_all((0..20).map(|_| house.refresh(&tokens.refresh_token))).await;
        let lucky: Vec<_> = refreshed.into_iter().flatten().collect();
        assert!(lucky.len() <= 1, "{}", lucky.len());
        for tokens in lucky {
            assert_eq!(reason(house.refresh(&tokens.refresh_token).await), "TOKEN_REVOKED");
        }
    }
}

#[tokio::test]
async fn a_session_that_is_not_refreshed_in_time_has_expired() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let tokens = house.login(RIGHT).await.unwrap();
        house.clock.advance(Settings::default().lifetimes.session);
        assert_eq!(reason(house.refresh(&tokens.refresh_token).await), "TOKEN_EXPIRED");
    }
}

#[tokio::test]
async fn a_locked_account_answers_right_and_wrong_passwords_alike_and_after_a_restart_too() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        for _ in 0..6 {
            assert_eq!(reason(house.login("wrong").await), "CREDENTIALS_INVALID");
        }
        let (right, wrong) = (house.login(RIGHT).await.unwrap_err(), house.login("wrong").await.unwrap_err());
        assert_eq!(right, wrong);
        assert_eq!((right.reason(), right.metadata("retry_after_seconds")), ("ACCOUNT_LOCKED", Some("30")));
        let restarted = house.replica(settings()).await;
        assert_eq!(login(&restarted, RIGHT).await.unwrap_err(), right);
        house.clock.advance(SECOND * 30);
        login(&restarted, RIGHT).await.unwrap();
        // A success forgives, so the next wrong password is free again.
        assert_eq!(reason(house.login("wrong").await), "CREDENTIALS_INVALID");
        house.login(RIGHT).await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_password_ends_every_session_that_knew_the_old_one() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let (phone, laptop) = (house.login(RIGHT).await.unwrap(), house.login(RIGHT).await.unwrap());
        house.clock.advance(SECOND);
        let changed = house.clock.now();
        house.clock.advance(SECOND);
        let young = house.login(RIGHT).await.unwrap();
        house.password_changed(changed).await;
        house.hear().await;
        assert_eq!([house.verdict(&phone), house.verdict(&laptop)], ["TOKEN_REVOKED", "TOKEN_REVOKED"]);
        assert_eq!(reason(house.refresh(&phone.refresh_token).await), "TOKEN_REVOKED");
        assert_eq!(house.verdict(&young), "good");
    }
}

#[tokio::test]
async fn a_login_that_began_before_the_password_changed_opens_no_session() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let began = house.clock.now();
        house.clock.advance(SECOND);
        house.password_changed(house.clock.now()).await;
        let opened = house.service.open_session(b"account", ALICE, "phone", began).await;
        assert_eq!(reason(opened), "CREDENTIALS_INVALID");
        house.login(RIGHT).await.unwrap();
    }
}

#[tokio::test]
async fn sessions_are_listed_newest_first_and_ended_by_their_user_alone() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let old = house.login(RIGHT).await.unwrap();
        house.clock.advance(SECOND);
        let new = house.login(RIGHT).await.unwrap();
        let list = async |user: &str| {
            let request = Request::new(ListSessionsRequest::default());
            as_session(user, &new.session_id, house.service.list_sessions(request)).await.unwrap().sessions
        };
        let listed: Vec<_> = list(ALICE).await.into_iter().map(|session| (session.id, session.current)).collect();
        assert_eq!(listed, [(new.session_id.clone(), true), (old.session_id.clone(), false)]);
        assert!(list(BOB).await.is_empty());

        let revoke = |user, id: &str| {
            let request = Request::new(RevokeSessionRequest { id: id.to_owned() });
            as_session(user, &new.session_id, house.service.revoke_session(request))
        };
        assert_eq!(reason(revoke(BOB, &old.session_id).await), "RESOURCE_NOT_FOUND");
        revoke(ALICE, &old.session_id).await.unwrap();
        revoke(ALICE, &old.session_id).await.unwrap();
        house.hear().await;
        assert_eq!([house.verdict(&old), house.verdict(&new)], ["TOKEN_REVOKED", "good"]);
        as_session(ALICE, &new.session_id, house.service.logout(Request::new(LogoutRequest {}))).await.unwrap();
        house.hear().await;
        assert_eq!(house.verdict(&new), "TOKEN_REVOKED");
        assert!(list(ALICE).await.is_empty());
    }
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let service = house.replica(Settings { sessions_max: 2, ..settings() }).await;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            house.clock.advance(SECOND);
            tokens.push(login(&service, RIGHT).await.unwrap());
        }
        house.hear().await;
        let verdicts: Vec<_> = tokens.iter().map(|tokens| house.verdict(tokens)).collect();
        assert_eq!(verdicts, ["TOKEN_REVOKED", "good", "good"]);
    }
}

#[tokio::test]
async fn new_roles_end_the_sessions_that_had_the_old_ones() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let before = house.login(RIGHT).await.unwrap();
        house.clock.advance(SECOND);
        let update = |roles: &[&str], etag: &str| {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            let role_binding = Some(RoleBinding { user_id: ALICE.into(), roles, etag: etag.into() });
            let request = Request::new(UpdateRoleBindingRequest { role_binding, ..Default::default() });
            as_session(BOB, "ses_1", house.service.update_role_binding(request))
        };
        let updated = update(&["support", "customer"], "\"v0\"").await.unwrap().role_binding.unwrap();
        assert_eq!((updated.roles.join(" "), updated.etag.as_str()), ("customer support".to_owned(), "\"v1\""));
        assert_eq!(reason(update(&["admin"], "\"v0\"").await), "ETAG_MISMATCH");
        house.hear().await;
        assert_eq!(house.verdict(&before), "TOKEN_REVOKED");
        grant(&house.service.0.db, ALICE, &["support", "admin"]).await.unwrap();
        assert_eq!(house.login(RIGHT).await.unwrap().roles, ["admin", "customer", "support"]);
    }
}

#[tokio::test]
async fn a_new_key_is_known_before_it_signs_and_the_old_one_outlives_its_tokens() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let old = house.login(RIGHT).await.unwrap();
        let rotate = || {
            let request_id = "6a1f0c5e-0000-4000-8000-000000000001".to_owned();
            let request = Request::new(RotateSigningKeyRequest { request_id });
            as_session(BOB, "ses_1", house.service.rotate_signing_key(request))
        };
        let key = rotate().await.unwrap().key.unwrap();
        assert_eq!(rotate().await.unwrap().key.unwrap(), key);
        // Known to nobody yet: still signed with the old key.
        let meanwhile = house.login(RIGHT).await.unwrap();
        assert_eq!(house.verdict(&meanwhile), "good");
        house.hear().await;
        house.clock.advance(SECOND * 2);
        let young = house.login(RIGHT).await.unwrap();
        assert_eq!([&old, &meanwhile, &young].map(|tokens| house.verdict(tokens)), ["good", "good", "good"]);
        let header = jsonwebtoken::decode_header(&young.access_token).unwrap();
        assert_eq!((header.kid, header.typ.as_deref()), (Some(key.kid), Some("at+jwt")));
        house.clock.advance(SECOND * 599);
        assert_eq!(house.verdict(&meanwhile), "TOKEN_EXPIRED");
        house.clock.advance(SECOND * 61);
        house.hear().await;
        assert_eq!(house.service.0.bulletin.keys().len(), 1);
    }
}

#[tokio::test]
async fn a_key_is_replaced_when_it_has_signed_for_its_time_or_cannot_be_opened() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let count = async || {
            let now = house.clock.now();
            house.service.0.db.read(async |session| store::keys(session, now).await).await.unwrap().len()
        };
        assert_eq!(count().await, 1);
        house.clock.advance(Settings::default().signing_key_lifetime);
        house.service.rotate_if_due().await.unwrap();
        house.service.rotate_if_due().await.unwrap();
        assert_eq!(count().await, 2);
        let tokens = house.login(RIGHT).await.unwrap();
        let settings = Settings { key_secret: Secret::new("another secret"), ..settings() };
        let moved = house.replica(settings).await;
        assert_eq!(count().await, 3);
        house.hear().await;
        assert_eq!(house.verdict(&tokens), "good");
        assert_eq!(house.verdict(&login(&moved, RIGHT).await.unwrap()), "good");
    }
}

#[tokio::test]
async fn a_follower_hears_what_another_replica_did_and_its_stream_ends_on_drain() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let other = house.replica(settings()).await;
        let tokens = house.login(RIGHT).await.unwrap();
        let (drain, _) = Drain::new();
        let (bulletin, db) = (house.service.0.bulletin.clone(), house.service.0.db.clone());
        let draining = drain.draining();
        let looking = tokio::spawn(async move { bulletin.run(&db, draining).await });
        let mut words = house.follow();
        let mut next = async || tokio::time::timeout(SECOND * 30, words.next()).await.unwrap();
        assert!(next().await.unwrap().unwrap().snapshot);
        other.end_session(ALICE, &tokens.session_id).await.unwrap();
        let word = next().await.unwrap().unwrap();
        assert!(!word.snapshot && word.keys.is_empty());
        assert_eq!(word.revocations[0].session_id, tokens.session_id);
        drain.start();
        while next().await.is_some() {}
        looking.await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_password_travels_from_an_outbox_over_the_log_to_every_follower() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let tokens = house.login(RIGHT).await.unwrap();
        house.clock.advance(SECOND);
        let log = Log::open(&database.log_url(), house.clock.clone()).await.unwrap();
        let db = house.service.0.db.clone();
        let fact = UserEvent {
            user_id: ALICE.to_owned(),
            event: Some(user_event::Event::PasswordChanged(PasswordChanged {})),
        };
        let published = db.write(async |unit| unit.fact(&Fact { aggregate: ALICE, sequence: 1, message: &fact })).await;
        published.unwrap();

        let (drain, draining) = Drain::new();
        let relay = tokio::spawn(relay::run(db, log.clone(), draining.clone()));
        let running = tokio::spawn(house.service.clone().run(log, draining));
        let mut words = house.follow();
        while house.verdict(&tokens) == "good" {
            let word = tokio::time::timeout(SECOND * 30, words.next()).await.unwrap();
            house.keyring.apply(told(word.unwrap().unwrap()));
        }
        assert_eq!(house.verdict(&tokens), "TOKEN_REVOKED");
        drain.start();
        relay.await.unwrap();
        running.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_over_is_removed_and_what_lives_stays() {
    for database in each_database().await {
        let house = House::new(database.url()).await;
        let over = house.login(RIGHT).await.unwrap();
        house.service.end_session(ALICE, &over.session_id).await.unwrap();
        let living = house.login(RIGHT).await.unwrap();
        assert_eq!(reason(house.login("wrong").await), "CREDENTIALS_INVALID");
        house.clock.advance(SECOND * 60 * 60 * 25);
        house.service.sweep().await.unwrap();
        assert_eq!(reason(house.refresh(&over.refresh_token).await), "TOKEN_INVALID");
        house.refresh(&living.refresh_token).await.unwrap();
        let failures = "SELECT CAST(COUNT(*) AS BIGINT) FROM login_failures";
        let left = house.service.0.db.read(async |session| session.row(failures, &[]).await).await.unwrap();
        assert_eq!(left.unwrap().int(0).unwrap(), 0);
    }
}
