//! Which workload a call goes to, and what the contract says about repeating it and how long it may take.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Uri};
use kit::{
    Body,
    contract::{Contract, Idempotency, Method},
};

use crate::{
    Config, Error, authorize::is_infrastructure, connection::Dialer, destination::Destination, identity::Identity,
    meters::Meters,
};

/// What is known about a call before it is made.
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) destination: Arc<Destination>,
    pub(crate) uri: Uri,
    /// Whether the contract says that a repeat does no harm.
    pub(crate) repeatable: bool,
    pub(crate) client_streaming: bool,
    pub(crate) server_streaming: bool,
    /// The longest that the call may take.
    pub(crate) limit: Option<Duration>,
}

/// Every call that can be made.
pub(crate) struct Routes {
    methods: HashMap<String, Arc<Route>>,
    destinations: HashMap<String, Arc<Destination>>,
}

impl Routes {
    /// Reads the contract: one route for each RPC, one destination for each workload.
    pub(crate) fn new(
        contract: &Contract,
        config: &Config,
        identity: &Identity,
        meters: &Arc<Meters>,
    ) -> Result<Self, Error> {
        let mut destinations: HashMap<String, Arc<Destination>> = HashMap::new();
        let mut methods = HashMap::new();
        for method in contract.methods() {
            let workload = config.workload_of(method);
            let destination = match destinations.get(workload) {
                Some(known) => known.clone(),
                None => {
                    let dialer = Dialer::new(workload, identity, config.max_connection_age, meters.clone())?;
                    let calls = meters.calls_to(workload);
                    let new = Arc::new(Destination::new(dialer, config.endpoints.clone(), calls));
                    destinations.insert(workload.to_owned(), new.clone());
                    new
                }
            };
            let route = Route {
                path: method.path.clone(),
                uri: uri(workload, &method.path)?,
                destination,
                repeatable: is_repeatable(method),
                client_streaming: method.client_streaming,
                server_streaming: method.server_streaming,
                limit: config.limit_of(method),
            };
            methods.insert(method.path.clone(), Arc::new(route));
        }
        Ok(Self { methods, destinations })
    }

    /// The route of a request. Health and reflection are in no contract and served by every workload: for them, the
    /// request's authority names the workload.
    pub(crate) fn find(&self, request: &Request<Body>) -> Option<Arc<Route>> {
        let path = request.uri().path();
        if let Some(route) = self.methods.get(path) {
            return Some(route.clone());
        }
        if !is_infrastructure(path) {
            return None;
        }
        let destination = self.destinations.get(request.uri().host()?)?;
        Some(Arc::new(Route {
            path: path.to_owned(),
            uri: uri(destination.workload(), path).ok()?,
            destination: destination.clone(),
            repeatable: false,
            client_streaming: true,
            server_streaming: true,
            limit: None,
        }))
    }
}

/// Whether a call may be made twice without harm.
pub(crate) fn is_repeatable(method: &Method) -> bool {
    matches!(method.idempotency, Idempotency::NoSideEffects | Idempotency::Idempotent)
}

fn uri(workload: &str, path: &str) -> Result<Uri, Error> {
    Uri::builder()
        .scheme("https")
        .authority(workload)
        .path_and_query(path)
        .build()
        .map_err(|error| Error::Setting(format!("`{workload}{path}` is no address of an RPC: {error}")))
}
