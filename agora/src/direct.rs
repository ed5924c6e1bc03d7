//! The network of a process without sidecars: a call goes straight to the application that serves its RPC.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use http::Request;
use kit::{Body, Error, Peer, contract::Contract, link::Link, server::App};
use tonic::Status;
use tower::ServiceExt;

use crate::settings::TRUST_DOMAIN;

/// The applications of this process, by workload.
#[derive(Clone)]
pub struct Network {
    contract: Arc<Contract>,
    apps: Arc<RwLock<HashMap<String, App>>>,
}

impl Network {
    /// A network that nobody has joined yet.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self { contract, apps: Arc::default() }
    }

    /// Makes an application reachable.
    pub fn join(&self, app: App) {
        // A poisoned lock still holds a whole map: writers only insert.
        let mut apps = self.apps.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        apps.insert(app.workload().to_owned(), app);
    }

    /// The way out of `workload`, which states its identity to whomever it calls.
    pub fn way_out(&self, workload: &str) -> Link {
        let network = self.clone();
        let identity = Peer::spiffe(TRUST_DOMAIN, workload);
        Link::new(tower::service_fn(move |request: Request<Body>| {
            let app = network.serving(request.uri().path());
            let identity = identity.clone();
            async move {
                match app {
                    Ok(app) => Link::direct(app, &identity).oneshot(request).await,
                    Err(error) => Ok(Status::from(error).into_http()),
                }
            }
        }))
    }

    fn serving(&self, path: &str) -> Result<App, Error> {
        let method = self
            .contract
            .method(path)
            .ok_or_else(|| Error::named("ROUTE_NOT_FOUND", "There is no such RPC. Reflection lists them."))?;
        let apps = self.apps.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        apps.get(&method.context).cloned().ok_or_else(|| {
            let message = format!("The service `{}` is not up. Try again.", method.context);
            Error::named("DEPENDENCY_UNAVAILABLE", message).with("dependency", method.context.clone())
        })
    }
}
