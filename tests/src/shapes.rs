//! The same journeys and refusals on every shape of the platform, over REST and over gRPC.

use anyhow::Result;

use crate::{
    client::Protocol,
    journeys,
    platform::{Platform, Shape},
    purchase_ends, purchase_refusals, purchases, reasons, refusals,
};

async fn everything_holds(shape: Shape) -> Result<()> {
    let platform = Platform::start(shape).await?;
    for protocol in [Protocol::Rest, Protocol::Grpc] {
        let client = platform.client(protocol)?;
        journeys::all(&client).await?;
        refusals::all(&client).await?;
        purchases::all(&client).await?;
        purchase_refusals::all(&client).await?;
    }
    let usual = platform.address.clone();
    drop(platform);
    let hasty = Platform::start_with(shape, &purchase_ends::HASTY).await?;
    for protocol in [Protocol::Rest, Protocol::Grpc] {
        purchase_ends::all(&hasty.client(protocol)?).await?;
    }
    reasons::all_met(&hasty.contract, &[&usual, &hasty.address]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_in_one_process_with_sidecars() -> Result<()> {
    everything_holds(Shape::Meshed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_in_one_process_without_sidecars() -> Result<()> {
    everything_holds(Shape::Direct).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_holds_with_a_process_per_role_on_postgresql() -> Result<()> {
    everything_holds(Shape::Roles).await
}
