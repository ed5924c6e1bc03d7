//! Each RPC: parse, load, decide, save, reply.

use contracts::{
    r#type::v1::Reason,
    user::v1::{user_service_server::UserService, *},
};
use kit::{Call, Error};
use storage::{Key, page::page_size};
use tonic::{Request, Response, Status};

use crate::{
    Service, address,
    password::Verdict,
    store,
    user::{self, Change, User},
};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UserService for Service {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Reply<CreateUserResponse> {
        let CreateUserRequest { email, password, display_name } = request.into_inner();
        let id = kit::id::new("usr", self.0.db.clock().now());
        let user = self.open(&id, &email, &password, &display_name).await?;
        Ok(Response::new(CreateUserResponse { user: Some(shown(&user)) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Reply<GetUserResponse> {
        let call = Call::current()?;
        let (scope, id) = (call.scope()?, or_own(&call, request.into_inner().id)?);
        let user = self.0.db.read(async |session| store::load(session, &scope, &id).await).await?;
        Ok(Response::new(GetUserResponse { user: Some(shown(&user)) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Reply<ListUsersResponse> {
        let request = request.into_inner();
        let list = format!("users {}", Call::current()?.principal());
        let (after, size) = (self.0.pages.after(&request.page_token, &list)?, page_size(request.page_size)?);
        let found = self.0.db.read(async |session| store::list(session, (after.0, &after.1), size + 1).await).await?;
        let (users, next_page_token) = self.0.pages.cut(found, size, &list, |user| (user.create_time, &user.id));
        Ok(Response::new(ListUsersResponse { users: users.iter().map(shown).collect(), next_page_token }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Reply<UpdateUserResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let patch = request.user.ok_or_else(|| required("user"))?;
        let (scope, id) = (call.scope()?, or_own(&call, patch.id)?);
        let mask = request.update_mask.unwrap_or_default().paths;
        let change = Change::Profile { display_name: &patch.display_name };
        let reply = self.0.db.once(key, async |unit| {
            let user = store::load_for_update(unit, &scope, &id).await?;
            user.check_etag(&patch.etag)?;
            let user = changed(unit, user, &change, &mask).await?;
            Ok(UpdateUserResponse { user: Some(shown(&user)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn authenticate(&self, request: Request<AuthenticateRequest>) -> Reply<AuthenticateResponse> {
        let AuthenticateRequest { email, password } = request.into_inner();
        let email = user::normalise(&email);
        let known = self.0.db.read(async |session| store::credential(session, &email).await).await?;
        let hash = known.as_ref().map(|known| known.password_hash.as_str());
        let verdict = self.0.hasher.verify(&password, hash).await?;
        let Some(credential) = known.filter(|_| verdict != Verdict::Wrong) else {
            return Err(wrong("Email and password do not match.").into());
        };
        if verdict == Verdict::RightButOutdated {
            self.renew(&credential, &password).await;
        }
        Ok(Response::new(AuthenticateResponse { user_id: credential.user_id }))
    }

    async fn change_password(&self, request: Request<ChangePasswordRequest>) -> Reply<ChangePasswordResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let (scope, id) = (call.scope()?, call.user()?);
        let old = self.0.db.read(async |session| store::credential_of(session, id).await).await?.password_hash;
        if self.0.hasher.verify(&request.current_password, Some(&old)).await? == Verdict::Wrong {
            return Err(wrong("The current password is another.").into());
        }
        let new = self.0.hasher.hash(&request.new_password).await?;
        let saved = self.0.db.write(async |unit| {
            let user = store::load_for_update(unit, &scope, id).await?;
            store::replace_hash(unit, id, &old, &new).await?;
            changed(unit, user, &Change::Password, &[]).await
        });
        saved.await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn get_preferences(&self, _: Request<GetPreferencesRequest>) -> Reply<GetPreferencesResponse> {
        let call = Call::current()?;
        let (scope, id) = (call.scope()?, call.user()?);
        let user = self.0.db.read(async |session| store::load(session, &scope, id).await).await?;
        Ok(Response::new(GetPreferencesResponse { preferences: Some(preferences(user)) }))
    }

    async fn update_preferences(&self, request: Request<UpdatePreferencesRequest>) -> Reply<UpdatePreferencesResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let (scope, id) = (call.scope()?, call.user()?);
        let patch = request.preferences.ok_or_else(|| required("preferences"))?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let reply = self.0.db.once(key, async |unit| {
            let user = store::load_for_update(unit, &scope, id).await?;
            let user = changed(unit, user, &Change::Preferences(&patch), &mask).await?;
            Ok(UpdatePreferencesResponse { preferences: Some(preferences(user)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn create_address(&self, request: Request<CreateAddressRequest>) -> Reply<CreateAddressResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let (scope, id) = (call.scope()?, call.user()?);
        let asked = request.address.ok_or_else(|| required("address"))?;
        let reply = self.0.db.once(key, async |unit| {
            // The lock on the user makes the count hold until the commit.
            store::load_for_update(unit, &scope, id).await?;
            address::check_room(store::count_addresses(unit, id).await?, self.0.addresses_max)?;
            let address = address::add(asked, kit::id::new("adr", unit.now()), unit.now());
            store::insert_address(unit, id, &address).await?;
            Ok(CreateAddressResponse { address: Some(address) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn list_addresses(&self, request: Request<ListAddressesRequest>) -> Reply<ListAddressesResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let (user, list) = (call.user()?, format!("addresses {}", call.principal()));
        let (after, size) = (self.0.pages.after(&request.page_token, &list)?, page_size(request.page_size)?);
        let read =
            self.0.db.read(async |session| store::list_addresses(session, user, (after.0, &after.1), size + 1).await);
        let (addresses, next_page_token) =
            self.0.pages.cut(read.await?, size, &list, |address| (store::created(address), &address.id));
        Ok(Response::new(ListAddressesResponse { addresses, next_page_token }))
    }

    async fn delete_address(&self, request: Request<DeleteAddressRequest>) -> Reply<DeleteAddressResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let (key, user) = (Key::of(&call, &request.request_id, &request), call.user()?);
        let reply = self.0.db.once(key, async |unit| {
            store::delete_address(unit, user, &request.id).await?;
            Ok(DeleteAddressResponse {})
        });
        Ok(Response::new(reply.await?))
    }
}

impl Service {
    /// Opens an account.
    pub(crate) async fn open(&self, id: &str, email: &str, password: &str, display_name: &str) -> Result<User, Error> {
        let hash = self.0.hasher.hash(password).await?;
        let opened = self.0.db.write(async |unit| {
            let (user, event) = User::open(id, email, display_name, unit.now());
            store::insert(unit, &user, &hash, event).await?;
            Ok(user)
        });
        opened.await
    }

    /// Replaces an outdated hash. The login is right whether or not this succeeds.
    async fn renew(&self, credential: &store::Credential, password: &str) {
        let (id, old) = (&credential.user_id, &credential.password_hash);
        let renewed = async {
            let new = self.0.hasher.hash(password).await?;
            self.0.db.write(async |unit| store::replace_hash(unit, id, old, &new).await).await
        };
        if let Err(error) = renewed.await {
            tracing::warn!(%error, user = id, "an outdated password hash stays for now");
        }
    }
}

/// Makes a change and saves it, if it changes anything.
async fn changed(unit: &mut storage::Unit, user: User, change: &Change<'_>, mask: &[String]) -> Result<User, Error> {
    match user.change(change, mask, unit.now())? {
        Some((user, event)) => {
            store::save(unit, &user, event).await?;
            Ok(user)
        }
        None => Ok(user),
    }
}

fn or_own(call: &Call, id: String) -> Result<String, Error> {
    if id.is_empty() { call.user().map(str::to_owned) } else { Ok(id) }
}

fn wrong(message: &str) -> Error {
    Error::new(Reason::CredentialsInvalid, message)
}

fn required(field: &str) -> Error {
    let message = format!("`{field}` is missing.");
    Error::new(Reason::InvalidField, &message).with("field", field).violation(field, message)
}

fn shown(user: &User) -> contracts::user::v1::User {
    contracts::user::v1::User {
        id: user.id.clone(),
        email: user.email.clone(),
        display_name: user.display_name.clone(),
        etag: user.etag(),
        create_time: Some(user.create_time.to_proto()),
        update_time: Some(user.update_time.to_proto()),
    }
}

fn preferences(user: User) -> Preferences {
    Preferences { language: user.language, currency: user.currency }
}
