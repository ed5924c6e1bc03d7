//! What a process says of its health, per service, by `grpc.health.v1`: serving while it is ready, not serving before and
//! while it drains, so that whoever balances calls sends none that would be refused.

use std::{sync::Arc, time::Duration};

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::HealthReporter,
};

use crate::drain::Draining;

/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The health of some services of this process. Clones are the same health.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    services: Arc<[String]>,
}

impl Health {
    /// The health of these services, and the server that tells it. They serve until something else is said.
    pub fn new(services: impl IntoIterator<Item = String>) -> (Self, HealthServer<impl HealthService>) {
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Self { reporter, services: services.into_iter().collect() };
        // The reporter's state sits behind an uncontended lock: this finishes at once.
        futures::executor::block_on(health.set(true));
        (health, server)
    }

    /// Says whether the services serve.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in self.services.iter().map(String::as_str).chain([""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Says what `ready` says until the process drains, and that nothing serves from then on.
    pub async fn follow(self, ready: impl Fn() -> bool + Send + Sync, draining: Draining) {
        let mut told = None;
        while !draining.is_set() {
            let serving = ready();
            if told.replace(serving) != Some(serving) {
                self.set(serving).await;
            }
            tokio::select! {
                () = draining.wait() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        self.set(false).await;
    }
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Told, health_client::HealthClient,
    };

    use super::*;
    use crate::drain::Drain;

    #[tokio::test]
    async fn a_service_serves_while_it_is_ready_and_not_while_it_drains() {
        let (health, server) = Health::new(["a.B".to_owned()]);
        let mut client = HealthClient::new(server);
        let mut asked = async |wanted: Told| {
            loop {
                let request = Request::new(HealthCheckRequest { service: "a.B".into() });
                if client.check(request).await.unwrap().into_inner().status() == wanted {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        asked(Told::Serving).await;
        health.set(false).await;
        asked(Told::NotServing).await;
        let (drain, draining) = Drain::new();
        let following = tokio::spawn(health.follow(|| true, draining));
        asked(Told::Serving).await;
        drain.start();
        asked(Told::NotServing).await;
        following.await.unwrap();
    }
}
