//! Who is calling, may they, how often, until when: decided on the matched RPC before its body is read, the same for REST
//! and gRPC.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};
use kit::{
    Call, Caller, Error,
    auth::Verifier,
    contract::{Contract, Method},
    guard, timeout,
    trace::TraceContext,
};
use tokio::time::Instant;

use crate::{
    config::Config,
    limit::{Allowance, Limits},
};

/// The guard at the door.
pub struct Door {
    verifier: Verifier,
    limits: Option<Limits>,
    workload: String,
    timeout: Duration,
}

/// A call that is let in.
pub struct Admitted {
    /// The call as the rest of the way sees it.
    pub call: Call,
    /// What is left of the caller's allowance.
    pub allowance: Option<Allowance>,
}

impl Door {
    /// A guard for the RPCs of a contract.
    pub fn new(contract: &Contract, verifier: Verifier, config: &Config) -> Door {
        let limits = config.rate_limited.then(|| Limits::new(contract, config.rate_limit));
        Door { verifier, limits, workload: config.workload.clone(), timeout: config.timeout }
    }

    /// The call before anything is known of the caller: errors raised in it name the RPC's context.
    pub fn call(&self, method: &Arc<Method>, trace: TraceContext) -> Call {
        Call {
            method: Some(method.clone()),
            scope: None,
            deadline: None,
            trace,
            ..Call::background(&self.workload, Duration::ZERO)
        }
    }

    /// Lets a call in, or says why not.
    ///
    /// # Errors
    /// What is wrong with the token, role, allowance or deadline.
    pub fn admit(
        &self,
        method: &Arc<Method>,
        headers: &HeaderMap,
        client: IpAddr,
        trace: TraceContext,
    ) -> Result<Admitted, Error> {
        let mut call = self.call(method, trace);
        // Who: believed only from a token that is verified here, and again by the service.
        call.caller = self.caller(method, headers)?;
        // May they: the same program as in the service. No workload of the mesh calls from out there.
        call.scope = guard::authorize(method, None, call.caller.as_deref())?;
        // How often: after who, since the allowance is the caller's.
        let allowance = match &self.limits {
            Some(limits) => limits.take(method, call.caller.as_deref(), client)?,
            None => None,
        };
        // Until when: the sooner of what the contract allows and what the client can wait.
        call.deadline = self.deadline(method, headers)?;
        Ok(Admitted { call, allowance })
    }

    fn caller(&self, method: &Method, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, Error> {
        // What is no text is no token either.
        let header = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        self.verifier.caller(method, header)
    }

    fn deadline(&self, method: &Method, headers: &HeaderMap) -> Result<Option<Instant>, Error> {
        // A stream has no limit but the client's own.
        let ours = (!method.server_streaming).then(|| method.policy.timeout.unwrap_or(self.timeout));
        let limits = [ours, client_timeout(headers, timeout::HEADER, timeout::parse)?, server_timeout(headers)?];
        Ok(limits.into_iter().flatten().min().and_then(|limit| Instant::now().checked_add(limit)))
    }
}

fn server_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    client_timeout(headers, "x-server-timeout", |text| Duration::try_from_secs_f64(text.parse().ok()?).ok())
}

fn client_timeout(
    headers: &HeaderMap,
    name: &str,
    parse: impl Fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let limit = value.to_str().ok().and_then(parse).filter(|limit| !limit.is_zero());
    limit.map(Some).ok_or_else(|| {
        let message = format!("`{name}` is malformed: write `grpc-timeout: 500m` or `x-server-timeout: 0.5`.");
        Error::named("INVALID_FIELD", message).violation(name, "is malformed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_the_client_is_read_or_refused() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-server-timeout", text.parse().unwrap());
            server_timeout(&headers).map_err(|error| error.reason().to_owned())
        };
        assert_eq!(read("0.5"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(read("10"), Ok(Some(Duration::from_secs(10))));
        for wrong in ["", "0", "-1", "NaN", "inf", "1s", "1e300"] {
            assert_eq!(read(wrong), Err("INVALID_FIELD".to_owned()), "{wrong}");
        }
    }
}
