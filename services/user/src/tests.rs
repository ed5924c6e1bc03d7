//! The service as its callers meet it, on both databases.

use std::{sync::Once, time::Duration};

use contracts::user::v1::{user_event::Event, user_service_server::UserService, *};
use kit::{Call, Caller, Clock, Error, Scope, Timestamp, contract::Contract, link::Links};
use storage::{Db, Options, testing::each_database};
use tonic::{Request, Response, Status};

use crate::{Cost, MIGRATIONS, Service, Settings, store};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Makes reasons and topics known.
pub fn install_contract() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kit::contract::install(Contract::parse(contracts::DESCRIPTORS).unwrap().into()));
}

async fn service(url: &str) -> (Service, Clock) {
    install_contract();
    let clock = Clock::manual(START);
    let options = Options { migrations: MIGRATIONS, ..Options::new("user", clock.clone()) };
    let db = Db::open(url, options).await.unwrap();
    let settings = Settings { cost: Cost { memory: 64, passes: 1 }, addresses_max: 3, ..Settings::default() };
    (Service::new(db, &Links::new(), settings).await.unwrap(), clock)
}

fn call(user: &str, scope: Scope) -> Call {
    let (token_expires, token) = (START + Duration::from_secs(600), "".into());
    let caller = Caller { user: user.into(), roles: vec![], session: "ses_1".into(), token_expires, token };
    Call { caller: Some(caller.into()), scope: Some(scope), ..Call::background("edge", Duration::from_secs(60)) }
}

async fn as_user<T>(user: &str, work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    within(call(user, Scope::Owner(user.to_owned())), work).await
}

async fn within<T>(call: Call, work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

async fn register(service: &Service, email: &str) -> User {
    let request = CreateUserRequest { email: email.into(), password: "correct horse".into(), display_name: "A".into() };
    service.create_user(Request::new(request)).await.unwrap().into_inner().user.unwrap()
}

async fn login(service: &Service, email: &str, password: &str) -> Result<String, Error> {
    let request = AuthenticateRequest { email: email.into(), password: password.into() };
    Ok(service.authenticate(Request::new(request)).await?.into_inner().user_id)
}

fn address(city: &str) -> Address {
    let lines = vec!["1 Main Street".to_owned(), "Floor 2\n".to_owned()];
    Address { recipient: "A".into(), lines, city: city.into(), country_code: "CH".into(), ..Address::default() }
}

fn reason<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
    refused.unwrap_err().reason().to_owned()
}

#[tokio::test]
async fn an_email_has_one_account_however_it_is_written() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let user = register(&service, "Alice@Example.com").await;
        assert_eq!((user.email.as_str(), user.etag.as_str()), ("alice@example.com", "\"v1\""));
        let again = CreateUserRequest {
            email: "ALICE@example.com".into(),
            password: "another horse".into(),
            display_name: String::new(),
        };
        let refused = service.create_user(Request::new(again)).await.map_err(Error::from);
        assert_eq!(reason(refused), "ALREADY_EXISTS_EMAIL");
        assert_eq!(login(&service, "aLICE@example.com", "correct horse").await.unwrap(), user.id);
        service.seed("usr_x", "alice@example.com", "correct horse", "A").await.unwrap();
    }
}

#[tokio::test]
async fn fifty_registrations_at_once_open_one_account() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let register = || async {
            let request = CreateUserRequest {
                email: "alice@example.com".into(),
                password: "correct horse".into(),
                display_name: String::new(),
            };
            service.create_user(Request::new(request)).await.is_ok()
        };
        let opened = futures::future::join_all((0..50).map(|_| register())).await;
        assert_eq!(opened.into_iter().filter(|opened| *opened).count(), 1);
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_get_the_same_answer() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        register(&service, "alice@example.com").await;
        let wrong = login(&service, "alice@example.com", "wrong horse").await.unwrap_err();
        let unknown = login(&service, "bob@example.com", "correct horse").await.unwrap_err();
        assert_eq!(wrong, unknown);
        assert_eq!(wrong.reason(), "CREDENTIALS_INVALID");
    }
}

#[tokio::test]
async fn a_bcrypt_hash_is_replaced_by_the_first_login_that_it_verifies() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let user = register(&service, "alice@example.com").await;
        let hash_of = async || {
            let found = service.0.db.read(async |session| store::credential_of(session, &user.id).await).await;
            found.unwrap().password_hash
        };
        let (old, bcrypt) = (hash_of().await, bcrypt::hash("correct horse", 4).unwrap());
        let imported = service.0.db.write(async |unit| store::replace_hash(unit, &user.id, &old, &bcrypt).await).await;
        imported.unwrap();
        assert_eq!(reason(login(&service, "alice@example.com", "wrong horse").await), "CREDENTIALS_INVALID");
        assert_eq!(hash_of().await, bcrypt);
        login(&service, "alice@example.com", "correct horse").await.unwrap();
        assert!(hash_of().await.starts_with("$argon2id$"));
        login(&service, "alice@example.com", "correct horse").await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_password_replaces_the_old_one_and_is_a_fact() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let user = register(&service, "alice@example.com").await;
        let change = |current: &str| {
            let request =
                ChangePasswordRequest { current_password: current.into(), new_password: "battery staple".into() };
            as_user(&user.id, service.change_password(Request::new(request)))
        };
        assert_eq!(reason(change("wrong horse").await), "CREDENTIALS_INVALID");
        change("correct horse").await.unwrap();
        assert_eq!(reason(change("correct horse").await), "CREDENTIALS_INVALID");
        assert_eq!(reason(login(&service, "alice@example.com", "correct horse").await), "CREDENTIALS_INVALID");
        assert_eq!(login(&service, "alice@example.com", "battery staple").await.unwrap(), user.id);
        let facts = facts(&service, &user.id).await;
        assert!(matches!(facts.as_slice(), [(1, Event::UserCreated(_)), (2, Event::PasswordChanged(_))]), "{facts:?}");
    }
}

/// What waits in the outbox about a user.
async fn facts(service: &Service, user: &str) -> Vec<(i64, Event)> {
    const OUTBOX: &str = "SELECT sequence, payload FROM outbox WHERE aggregate = $1 ORDER BY sequence";
    let rows = service.0.db.read(async |session| session.rows(OUTBOX, &[user.into()]).await).await.unwrap();
    let read = |row: &storage::Row| {
        let event = <UserEvent as prost::Message>::decode(row.bytes(1).unwrap().as_slice()).unwrap();
        (row.int(0).unwrap(), event.event.unwrap())
    };
    rows.iter().map(read).collect()
}

#[tokio::test]
async fn a_user_changes_itself_once_per_request_and_never_over_a_newer_version() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let user = register(&service, "alice@example.com").await;
        let rename = |name: &str, etag: &str, request_id: &str| {
            let patch = User { display_name: name.into(), etag: etag.into(), ..User::default() };
            let request = UpdateUserRequest { request_id: request_id.into(), user: Some(patch), update_mask: None };
            as_user(&user.id, service.update_user(Request::new(request)))
        };
        let id = "6a1f0c5e-0000-4000-8000-000000000001";
        let renamed = rename("Alice B", &user.etag, id).await.unwrap();
        assert_eq!(renamed.user.as_ref().unwrap().etag, "\"v2\"");
        assert_eq!(rename("Alice B", &user.etag, id).await.unwrap(), renamed);
        assert_eq!(reason(rename("Alice C", &user.etag, id).await), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(reason(rename("Alice C", &user.etag, "").await), "ETAG_MISMATCH");
        assert_eq!(rename("Alice B", "", "").await.unwrap(), renamed);
        let preferences = Preferences { currency: "CHF".into(), ..Preferences::default() };
        let request = UpdatePreferencesRequest { preferences: Some(preferences), ..Default::default() };
        let changed = as_user(&user.id, service.update_preferences(Request::new(request))).await.unwrap();
        assert_eq!(changed.preferences, Some(Preferences { language: "en".into(), currency: "CHF".into() }));
        let sequences: Vec<_> = facts(&service, &user.id).await.into_iter().map(|(sequence, _)| sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
    }
}

#[tokio::test]
async fn nobody_sees_or_changes_another_user_but_by_a_role() {
    for database in each_database().await {
        let (service, _) = service(database.url()).await;
        let (alice, bob) = (register(&service, "alice@example.com").await, register(&service, "bob@example.com").await);
        let get = |id: &str| service.get_user(Request::new(GetUserRequest { id: id.into() }));
        assert_eq!(as_user(&alice.id, get("")).await.unwrap().user.unwrap(), alice);
        assert_eq!(reason(as_user(&alice.id, get(&bob.id)).await), "RESOURCE_NOT_FOUND");
        let seen = within(call(&alice.id, Scope::All), get(&bob.id)).await.unwrap();
        assert_eq!(seen.user.unwrap(), bob);
        let request = UpdateUserRequest { user: Some(bob), ..Default::default() };
        let refused = as_user(&alice.id, service.update_user(Request::new(request))).await;
        assert_eq!(reason(refused), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn users_are_listed_newest_first_and_none_is_skipped_when_others_come_meanwhile() {
    for database in each_database().await {
        let (service, clock) = service(database.url()).await;
        for n in 0..5 {
            // Two share an instant.
            clock.advance(Duration::from_secs(n % 2));
            register(&service, &format!("user{n}@example.com")).await;
        }
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListUsersRequest { page_size: 2, page_token };
            let page = within(call("usr_admin", Scope::All), service.list_users(Request::new(request))).await.unwrap();
            seen.extend(page.users);
            if page.next_page_token.is_empty() {
                break;
            }
            page_token = page.next_page_token;
            clock.advance(Duration::from_secs(1));
            register(&service, &format!("late{}@example.com", seen.len())).await;
        }
        let mut emails: Vec<_> = seen.iter().map(|user| user.email.as_str()).collect();
        emails.sort_unstable();
        assert_eq!(emails, (0..5).map(|n| format!("user{n}@example.com")).collect::<Vec<_>>());
        let request = ListUsersRequest { page_size: 2, page_token: "forged".into() };
        let refused = within(call("usr_admin", Scope::All), service.list_users(Request::new(request))).await;
        assert_eq!(reason(refused), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn addresses_belong_to_one_user_and_are_limited() {
    for database in each_database().await {
        let (service, clock) = service(database.url()).await;
        let (alice, bob) = (register(&service, "alice@example.com").await, register(&service, "bob@example.com").await);
        let add = |city: &str| {
            let request = CreateAddressRequest { address: Some(address(city)), ..Default::default() };
            as_user(&alice.id, service.create_address(Request::new(request)))
        };
        let mut kept = Vec::new();
        for city in ["Bern", "Basel", "Genf"] {
            clock.advance(Duration::from_secs(1));
            kept.insert(0, add(city).await.unwrap().address.unwrap());
        }
        assert_eq!(reason(add("Chur").await), "LIMIT_EXCEEDED");
        let list = async |user: &User| {
            let request = Request::new(ListAddressesRequest::default());
            as_user(&user.id, service.list_addresses(request)).await.unwrap().addresses
        };
        assert_eq!(list(&alice).await, kept);
        assert!(list(&bob).await.is_empty());
        let remove = |id: &str| DeleteAddressRequest { id: id.into(), ..Default::default() };
        let refused = as_user(&bob.id, service.delete_address(Request::new(remove(&kept[0].id)))).await;
        assert_eq!(reason(refused), "RESOURCE_NOT_FOUND");
        as_user(&alice.id, service.delete_address(Request::new(remove(&kept[0].id)))).await.unwrap();
        assert_eq!(list(&alice).await, kept[1..]);
    }
}
