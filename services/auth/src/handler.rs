//! Each RPC: parse, load, decide, save, reply.

use std::pin::Pin;

use contracts::{
    auth::v1::{Session as Shown, auth_service_server::AuthService, *},
    r#type::v1::Reason,
    user::v1::{AuthenticateRequest, user_service_client::UserServiceClient},
};
use futures::Stream;
use kit::{Call, Error, Timestamp, auth::Claims};
use storage::{Key, page::page_size};
use tonic::{Request, Response, Status};

use crate::{
    Service, keys,
    keys::StoredKey,
    session::{self, Session},
    store,
};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuthService for Service {
    type WatchKeysAndRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<WatchKeysAndRevocationsResponse, Status>> + Send>>;

    async fn login(&self, request: Request<LoginRequest>) -> Reply<LoginResponse> {
        let request = request.into_inner();
        let account = self.account_key(&request.email);
        let began = self.0.db.clock().now();
        let failures = self.0.db.read(async |session| store::failures(session, &account).await).await?;
        failures.check(began)?;
        let user_id = match self.authenticate(request.email, request.password).await {
            Err(error) if error.reason() == "CREDENTIALS_INVALID" => {
                return Err(self.failed(&account, error).await.into());
            }
            verified => verified?,
        };
        let tokens = self.open_session(&account, &user_id, &request.device, began).await?;
        Ok(Response::new(LoginResponse { tokens: Some(tokens) }))
    }

    async fn refresh_token(&self, request: Request<RefreshTokenRequest>) -> Reply<RefreshTokenResponse> {
        let (spent, next) = (session::hash(&request.into_inner().refresh_token), session::refresh_token());
        let refreshed = self.0.db.write(async |unit| {
            let Some(id) = store::spend_token(unit, &spent).await? else {
                // Spent before: one of the two callers is a thief, so the session ends, and this must be saved.
                return match store::session_of_token(unit, &spent).await? {
                    Some(id) => store::end_session(unit, None, &id).await.map(|()| None),
                    None => Err(unknown_token()),
                };
            };
            let session = store::load_for_update(unit, &id).await?.refresh(unit.now(), &self.0.settings.lifetimes)?;
            store::refresh_session(unit, &session, &session::hash(&next)).await?;
            let account = store::account(unit, &session.user_id).await?;
            Ok(Some((session, account)))
        });
        let Some((session, account)) = refreshed.await? else { return Err(session::ended().into()) };
        let tokens = self.tokens(session, account.roles, next)?;
        Ok(Response::new(RefreshTokenResponse { tokens: Some(tokens) }))
    }

    async fn logout(&self, _: Request<LogoutRequest>) -> Reply<LogoutResponse> {
        let call = Call::current()?;
        self.end_session(call.user()?, &session_of(&call)).await?;
        Ok(Response::new(LogoutResponse {}))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Reply<ListSessionsResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let (user, current, list) = (call.user()?, session_of(&call), format!("sessions {}", call.principal()));
        let (after, size) = (self.0.pages.after(&request.page_token, &list)?, page_size(request.page_size)?);
        let now = self.0.db.clock().now();
        let found = self
            .0
            .db
            .read(async |session| store::list_sessions(session, user, now, (after.0, &after.1), size + 1).await);
        let (found, next_page_token) =
            self.0.pages.cut(found.await?, size, &list, |session| (session.create_time, &session.id));
        let sessions = found.into_iter().map(|session| shown(session, &current)).collect();
        Ok(Response::new(ListSessionsResponse { sessions, next_page_token }))
    }

    async fn revoke_session(&self, request: Request<RevokeSessionRequest>) -> Reply<RevokeSessionResponse> {
        let call = Call::current()?;
        self.end_session(call.user()?, &request.into_inner().id).await?;
        Ok(Response::new(RevokeSessionResponse {}))
    }

    async fn list_signing_keys(&self, _: Request<ListSigningKeysRequest>) -> Reply<ListSigningKeysResponse> {
        let keys = self.0.bulletin.keys().iter().map(StoredKey::shown).collect();
        Ok(Response::new(ListSigningKeysResponse { keys }))
    }

    async fn rotate_signing_key(&self, request: Request<RotateSigningKeyRequest>) -> Reply<RotateSigningKeyResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit| {
            let key = self.rotate(unit).await?;
            Ok(RotateSigningKeyResponse { key: Some(key.shown()) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn watch_keys_and_revocations(
        &self,
        _: Request<WatchKeysAndRevocationsRequest>,
    ) -> Reply<Self::WatchKeysAndRevocationsStream> {
        Ok(Response::new(Box::pin(self.0.bulletin.follow()?)))
    }

    async fn get_role_binding(&self, request: Request<GetRoleBindingRequest>) -> Reply<GetRoleBindingResponse> {
        let user = request.into_inner().user_id;
        let account = self.0.db.read(async |session| store::account(session, &user).await).await?;
        Ok(Response::new(GetRoleBindingResponse { role_binding: Some(account.binding()) }))
    }

    async fn update_role_binding(
        &self,
        request: Request<UpdateRoleBindingRequest>,
    ) -> Reply<UpdateRoleBindingResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let wanted = request.role_binding.unwrap_or_default();
        let reply = self.0.db.once(key, async |unit| {
            let mut account = store::lock_account(unit, &wanted.user_id).await?;
            account.check_etag(&wanted.etag)?;
            if let Some(changed) = account.with_roles(&wanted.roles, unit.now()) {
                store::save_account(unit, &changed).await?;
                account = changed;
            }
            Ok(UpdateRoleBindingResponse { role_binding: Some(account.binding()) })
        });
        Ok(Response::new(reply.await?))
    }
}

impl Service {
    /// What failed logins are counted under: nobody without the secret can tell whose email it was.
    fn account_key(&self, email: &str) -> [u8; 32] {
        let email = email.trim().to_lowercase();
        keys::derive(&self.0.settings.key_secret, "account of failed logins", email.as_bytes())
    }

    /// Asks user whose credentials these are.
    async fn authenticate(&self, email: String, password: String) -> Result<String, Error> {
        let mut user = UserServiceClient::new(self.0.user.clone());
        Ok(user.authenticate(AuthenticateRequest { email, password }).await?.into_inner().user_id)
    }

    /// Counts a wrong password. Answers as a locked account does if it has become one meanwhile.
    async fn failed(&self, account: &[u8], refusal: Error) -> Error {
        let counted = self.0.db.write(async |unit| {
            let before = store::lock_failures(unit, account).await?;
            let after = before.another(unit.now(), &self.0.settings.patience);
            store::save_failures(unit, account, &after).await?;
            Ok(before.check(unit.now()))
        });
        match counted.await {
            Ok(Ok(())) => refusal,
            Ok(Err(error)) | Err(error) => error,
        }
    }

    /// Opens a session, unless the account was locked or its password changed while the password was verified: guesses
    /// made side by side gain nothing over guesses made one by one.
    pub(crate) async fn open_session(
        &self,
        account_key: &[u8],
        user_id: &str,
        device: &str,
        began: Timestamp,
    ) -> Result<Tokens, Error> {
        let token = session::refresh_token();
        let opened = self.0.db.write(async |unit| {
            let failures = store::failures(unit, account_key).await?;
            failures.check(unit.now())?;
            if failures.count > 0 {
                store::forget_failures(unit, account_key).await?;
            }
            let account = store::lock_account(unit, user_id).await?;
            if began < account.valid_from {
                let message = "The password or the roles changed during this login. Log in again.";
                return Err(Error::new(Reason::CredentialsInvalid, message));
            }
            let session = Session::open(user_id, device, began, unit.now(), &self.0.settings.lifetimes);
            store::open_session(unit, &session, &session::hash(&token), self.0.settings.sessions_max).await?;
            Ok((session, account))
        });
        let (session, account) = opened.await?;
        self.tokens(session, account.roles, token)
    }

    pub(crate) async fn end_session(&self, user_id: &str, id: &str) -> Result<(), Error> {
        self.0.db.write(async |unit| store::end_session(unit, Some(user_id), id).await).await
    }

    /// The tokens of a session that is saved.
    fn tokens(&self, session: Session, roles: Vec<String>, refresh_token: String) -> Result<Tokens, Error> {
        let now = self.0.db.clock().now();
        let access_token = self.0.bulletin.signer(now)?.sign(&Claims {
            iss: self.0.settings.issuer.clone(),
            sub: session.user_id.clone(),
            aud: self.0.settings.audience.clone(),
            exp: session.token_expire_time.seconds(),
            iat: now.seconds(),
            nbf: None,
            jti: kit::id::new("tok", now),
            client_id: self.0.settings.audience.clone(),
            sid: session.id.clone(),
            roles: roles.clone(),
        })?;
        Ok(Tokens {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: i64::try_from(session.token_expire_time.since(now).as_secs()).unwrap_or(i64::MAX),
            refresh_token,
            session_id: session.id,
            user_id: session.user_id,
            roles,
        })
    }
}

fn session_of(call: &Call) -> String {
    call.caller.as_deref().map(|caller| caller.session.clone()).unwrap_or_default()
}

fn unknown_token() -> Error {
    Error::new(Reason::TokenInvalid, "The refresh token is unknown. Log in again.")
}

fn shown(session: Session, current: &str) -> Shown {
    Shown {
        current: session.id == current,
        id: session.id,
        device: session.device,
        create_time: Some(session.create_time.to_proto()),
        refresh_time: Some(session.refresh_time.to_proto()),
        expire_time: Some(session.expire_time.to_proto()),
    }
}
