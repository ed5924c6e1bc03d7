//! What the tests share: auth in a house of its own, and a stand-in for the service that knows passwords.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use contracts::{
    auth::v1::{auth_service_server::AuthService, *},
    r#type::v1::Reason,
    user::v1::{AuthenticateRequest, AuthenticateResponse, PasswordChanged, UserEvent, user_event},
};
use futures::{Stream, StreamExt};
use kit::{
    Call, Caller, Clock, Error, Timestamp,
    auth::{Keyring, KeysAndRevocations, Verifier},
    config::Secret,
    contract::Contract,
    link::{Link, Links},
};
use prost::Message;
use storage::{Db, Event, Options, consumer::Handler};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::{MIGRATIONS, Service, Settings, events::Reactions};

pub const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub const SECOND: Duration = Duration::from_secs(1);
pub const ALICE: &str = "usr_01h455vb4pex5vsknk084sn02q";
pub const BOB: &str = "usr_01h455vb4pex5vsknk084sn02r";
pub const RIGHT: &str = "correct horse";

/// Makes reasons and topics known.
pub fn install_contract() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kit::contract::install(Contract::parse(contracts::DESCRIPTORS).unwrap().into()));
}

/// A house with auth in it, and a stand-in for user who knows Alice and one password.
pub struct House {
    pub url: String,
    pub clock: Clock,
    pub password: Arc<Mutex<String>>,
    pub service: Service,
    pub keyring: Keyring,
    pub verifier: Verifier,
}

impl House {
    pub async fn new(url: &str) -> Self {
        install_contract();
        let (clock, password) = (Clock::manual(START), Arc::new(Mutex::new(RIGHT.to_owned())));
        let service = replica(url, &clock, &password, settings()).await;
        let keyring = Keyring::new(clock.clone());
        let verifier = Verifier::new(keyring.clone(), clock.clone(), "agora", "agora");
        let house = Self { url: url.to_owned(), clock, password, service, keyring, verifier };
        house.hear().await;
        house
    }

    pub async fn replica(&self, settings: Settings) -> Service {
        replica(&self.url, &self.clock, &self.password, settings).await
    }

    /// Does what a follower does with the first word of the stream.
    pub async fn hear(&self) {
        self.service.0.bulletin.look(&self.service.0.db).await.unwrap();
        let first = self.follow().next().await.unwrap().unwrap();
        self.keyring.apply(told(first));
    }

    pub fn follow(&self) -> impl Stream<Item = Result<WatchKeysAndRevocationsResponse, Status>> + use<> {
        self.service.0.bulletin.follow().unwrap().boxed()
    }

    pub async fn login(&self, password: &str) -> Result<Tokens, Error> {
        login(&self.service, password).await
    }

    pub async fn refresh(&self, token: &str) -> Result<Tokens, Error> {
        let request = Request::new(RefreshTokenRequest { refresh_token: token.to_owned() });
        Ok(self.service.refresh_token(request).await?.into_inner().tokens.unwrap())
    }

    /// What becomes of a call with this access token.
    pub fn verdict(&self, tokens: &Tokens) -> String {
        match self.verifier.verify(&tokens.access_token) {
            Ok(_) => "good".to_owned(),
            Err(error) => error.reason().to_owned(),
        }
    }

    pub async fn password_changed(&self, time: Timestamp) {
        let fact = user_event::Event::PasswordChanged(PasswordChanged {});
        let event = Event {
            id: kit::id::new("evt", time),
            topic: "user-events".into(),
            kind: "agora.user.v1.UserEvent".into(),
            aggregate: ALICE.into(),
            sequence: 2,
            time,
            trace: String::new(),
            payload: UserEvent { user_id: ALICE.into(), event: Some(fact) }.encode_to_vec(),
            offset: 0,
        };
        self.service.0.db.write(async |unit| Reactions.handle(unit, &event).await).await.unwrap();
    }
}

async fn replica(url: &str, clock: &Clock, password: &Arc<Mutex<String>>, settings: Settings) -> Service {
    let options = Options { migrations: MIGRATIONS, ..Options::new("auth", clock.clone()) };
    let db = Db::open(url, options).await.unwrap();
    Service::new(db, &Links::new().add("user", user(password.clone())), settings).await.unwrap()
}

/// A stand-in for the user service.
fn user(password: Arc<Mutex<String>>) -> Link {
    Link::new(tower::service_fn(move |request| {
        let password = password.clone();
        async move {
            let authenticate = tower::service_fn(move |request: Request<AuthenticateRequest>| {
                let right = request.get_ref().password == *password.lock().unwrap();
                let refusal = || Error::new(Reason::CredentialsInvalid, "Email and password do not match.").into();
                let reply = Response::new(AuthenticateResponse { user_id: ALICE.to_owned() });
                ready(if right { Ok(reply) } else { Err::<_, Status>(refusal()) })
            });
            let codec = ProstCodec::<AuthenticateResponse, AuthenticateRequest>::default();
            Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(authenticate, request).await)
        }
    }))
}

pub async fn login(service: &Service, password: &str) -> Result<Tokens, Error> {
    let request = LoginRequest { email: "Alice@example.com".into(), password: password.into(), device: "phone".into() };
    Ok(service.login(Request::new(request)).await?.into_inner().tokens.unwrap())
}

pub async fn as_session<T>(
    user: &str,
    session: &str,
    work: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    let (token_expires, token) = (START + SECOND * 600, "".into());
    let caller = Caller { user: user.into(), roles: vec![], session: session.into(), token_expires, token };
    let call = Call { caller: Some(caller.into()), ..Call::background("edge", SECOND * 60) };
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

/// The bulletin as a keyring takes it in.
pub fn told(word: WatchKeysAndRevocationsResponse) -> KeysAndRevocations {
    let time = |time: Option<_>| time.as_ref().map(Timestamp::from_proto);
    let revoked = |ended: Revocation| (ended.session_id, time(ended.expire_time).unwrap());
    KeysAndRevocations {
        snapshot: word.snapshot,
        keys: word.keys.into_iter().map(|key| (key.kid, key.x, time(key.expire_time))).collect(),
        revocations: word.revocations.into_iter().map(revoked).collect(),
    }
}

pub fn reason<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
    refused.unwrap_err().reason().to_owned()
}

/// The settings that all replicas of a test share.
pub fn settings() -> Settings {
    Settings { page_secret: Secret::new("pages"), key_secret: Secret::new("keys"), ..Settings::default() }
}
