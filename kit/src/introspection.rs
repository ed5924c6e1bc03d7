//! Health and reflection: what a service says about itself, beside the contract.

use tonic::service::Routes;

use crate::{Error, contract::Contract, health::Health};

/// Whether a path belongs to health or reflection.
pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.")
}

/// Adds `grpc.health.v1` and reflection, v1 and v1alpha, over the services of one workload.
pub(crate) fn add(
    routes: Routes,
    workload: &str,
    contract: &Contract,
    descriptors: &[u8],
) -> Result<(Routes, Health), Error> {
    let mut services: Vec<&str> =
        contract.methods().filter(|method| method.context == workload).map(|method| method.service.as_str()).collect();
    services.dedup();

    let (health, server) = Health::new(services.iter().map(|name| (*name).to_owned()));

    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(descriptors);
        services.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let v1 = reflection().build_v1().map_err(Error::internal)?;
    let v1alpha = reflection().build_v1alpha().map_err(Error::internal)?;
    Ok((routes.add_service(server).add_service(v1).add_service(v1alpha), health))
}
