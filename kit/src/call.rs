//! The call that is being carried out: which RPC, who asks, until when. Set by the server's layers for the time of a
//! handler, so that errors, links and facts know it without being told.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{Error, Timestamp, contract::Method, trace::TraceContext};

tokio::task_local! {
    static CURRENT: Call;
}

/// The workload on the other end of a connection, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The trust domain of its SPIFFE id.
    pub trust_domain: String,
    /// Its name in the mesh: `order`, `edge`.
    pub workload: String,
}

impl Peer {
    /// Reads a SPIFFE id of the form that Istio gives: `spiffe://<domain>/ns/<namespace>/sa/<workload>`.
    pub fn from_spiffe(id: &str) -> Option<Self> {
        let (trust_domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["ns", namespace, "sa", workload] if ![trust_domain, namespace, workload].contains(&"") => {
                Some(Self { trust_domain: trust_domain.to_owned(), workload: (*workload).to_owned() })
            }
            _ => None,
        }
    }

    /// The SPIFFE id of a workload.
    pub fn spiffe(trust_domain: &str, workload: &str) -> String {
        format!("spiffe://{trust_domain}/ns/default/sa/{workload}")
    }

    /// Reads the peer from an `x-forwarded-client-cert` header: the last element is the nearest hop.
    pub fn from_xfcc(header: &str) -> Option<Self> {
        let nearest = header.rsplit(',').next()?;
        let uri = nearest.split(';').find_map(|part| part.trim().strip_prefix("URI="))?;
        Self::from_spiffe(uri)
    }
}

/// The user on whose behalf a call is made, as its access token says.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id, `usr_…`.
    pub user: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The session of the token, `ses_…`.
    pub session: String,
    /// When the token expires.
    pub token_expires: Timestamp,
    /// The token itself, which travels with the call.
    pub token: Arc<str>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("user", &self.user).field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// Whose resources a call may load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one user.
    Owner(String),
    /// Everyone's.
    All,
}

impl Scope {
    /// The user whose resources alone may be loaded; nothing means everyone's.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Scope::Owner(user) => Some(user),
            Scope::All => None,
        }
    }
}

/// The call that is being carried out.
#[derive(Clone)]
pub struct Call {
    /// The RPC; nothing for background work.
    pub method: Option<Arc<Method>>,
    /// Who carries the call: the workload on the other end, or this workload for background work.
    pub peer: Peer,
    /// On whose behalf.
    pub caller: Option<Arc<Caller>>,
    /// What may be loaded; nothing for a public RPC without a user.
    pub scope: Option<Scope>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Where in a trace this happens.
    pub trace: TraceContext,
}

impl Call {
    /// Work that nobody waits for, done by `workload` in its own name within `limit`.
    pub fn background(workload: &str, limit: Duration) -> Self {
        Self {
            method: None,
            peer: Peer { trust_domain: String::new(), workload: workload.to_owned() },
            caller: None,
            scope: Some(Scope::All),
            deadline: Some(Instant::now() + limit),
            trace: TraceContext::random(),
        }
    }

    /// The call of the running task.
    ///
    /// # Errors
    /// `INTERNAL` outside a call.
    pub fn current() -> Result<Self, Error> {
        Self::try_current().ok_or_else(|| Error::internal("there is no call in this task"))
    }

    /// The call of the running task, if there is one.
    pub fn try_current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Whose resources may be loaded.
    ///
    /// # Errors
    /// `TOKEN_MISSING` for a public RPC without a user.
    pub fn scope(&self) -> Result<Scope, Error> {
        self.scope.clone().ok_or_else(token_missing)
    }

    /// The user on whose behalf the call is made.
    ///
    /// # Errors
    /// `TOKEN_MISSING` without one.
    pub fn user(&self) -> Result<&str, Error> {
        self.caller.as_deref().map(|caller| caller.user.as_str()).ok_or_else(token_missing)
    }

    /// Who is answerable for the call: the user, or else the workload. Idempotency keys belong to it.
    pub fn principal(&self) -> String {
        match &self.caller {
            Some(caller) => caller.user.clone(),
            None => format!("service/{}", self.peer.workload),
        }
    }

    /// The same call for `owner`, made by the workload alone: for work that outlives the caller's token.
    pub fn detached(&self, limit: Duration) -> Self {
        Self { deadline: Some(Instant::now() + limit), trace: self.trace.child(), ..self.clone() }
    }
}

/// Carries out `work` as part of `call`.
pub fn run<F: Future>(call: Call, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(call, work)
}

/// The domain of errors raised in the running task: `order.agora`.
pub(crate) fn domain() -> Option<String> {
    CURRENT.try_with(|call| call.method.as_ref().map(|method| format!("{}.agora", method.context))).ok().flatten()
}

pub(crate) fn token_missing() -> Error {
    Error::named("TOKEN_MISSING", "Log in and send `Authorization: Bearer <access token>`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_certificate_names_the_peer() {
        let far = "By=spiffe://a/ns/default/sa/edge;URI=spiffe://a/ns/default/sa/admin";
        let near = "By=spiffe://a/ns/default/sa/order;Hash=12;URI=spiffe://a/ns/default/sa/edge";
        let peer = Peer::from_xfcc(&format!("{far},{near}")).unwrap();
        assert_eq!(peer.workload, "edge");
        for wrong in
            ["", "URI=http://a", "URI=spiffe://a/ns//sa/x", "URI=spiffe://a/ns/d/sa/x/y", "By=spiffe://a/ns/d/sa/x"]
        {
            assert_eq!(Peer::from_xfcc(wrong), None, "{wrong}");
        }
    }
}
