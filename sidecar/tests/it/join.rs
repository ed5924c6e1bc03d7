//! A process joins with a token, and becomes the workload that the token names and no other.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sidecar::{CaClient, CaServer, DEFAULT_LIFETIME, Error, Identity, JoinTokens, LocalCa, Source, token_path};

use crate::harness::{Mesh, TRUST_DOMAIN, eventually};

/// Starts an authority in `folder` and gives back its address.
async fn authority(mesh: &Mesh, lifetime: Duration) -> String {
    let folder = mesh.folder.path();
    let ca = Arc::new(LocalCa::open(folder, TRUST_DOMAIN, lifetime).unwrap());
    let tokens = JoinTokens::open(folder, TRUST_DOMAIN, &["order", "ledger"]).unwrap();
    let server = CaServer::bind(([127, 0, 0, 1], 0).into(), ca, tokens).await.unwrap();
    let address = server.address().unwrap().to_string();
    tokio::spawn(server.run(mesh.draining.clone()));
    address
}

fn client(address: &str, folder: &Path, workload: &str) -> Result<Source, Error> {
    let client = CaClient::new(address, TRUST_DOMAIN, &folder.join("ca.pem"), &token_path(folder, workload))?;
    Ok(Source::Remote(Arc::new(client)))
}

#[tokio::test]
async fn a_token_buys_the_identity_that_it_names_and_no_other() {
    let mesh = Mesh::new();
    let address = authority(&mesh, DEFAULT_LIFETIME).await;
    let order = client(&address, mesh.folder.path(), "order").unwrap();
    let identity = Identity::obtain("order", order.clone()).await.unwrap();
    assert_eq!(identity.id().workload(), "order");
    assert!(identity.not_after() > SystemTime::now() + Duration::from_secs(23 * 3600));
    for other in ["ledger", "ca", "edge", "nobody"] {
        let refused = Identity::obtain(other, order.clone()).await.err().unwrap();
        assert!(matches!(refused, Error::Refused(_)), "{other}: {refused}");
    }
}

#[tokio::test]
async fn secrets_are_readable_by_their_user_alone() {
    let mesh = Mesh::new();
    let address = authority(&mesh, DEFAULT_LIFETIME).await;
    let folder = mesh.folder.path();
    for secret in [folder.join("ca-key.pem"), token_path(folder, "order"), token_path(folder, "ledger")] {
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600, "{secret:?}");
    }
    assert_ne!(fs::read(token_path(folder, "order")).unwrap(), fs::read(token_path(folder, "ledger")).unwrap());
    // One that others may read is refused, with what to do.
    fs::set_permissions(token_path(folder, "order"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(client(&address, folder, "order").err().unwrap().to_string().contains("chmod 600"));
    fs::set_permissions(folder.join("ca-key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(LocalCa::open(folder, TRUST_DOMAIN, DEFAULT_LIFETIME).is_err());
}

#[tokio::test]
async fn an_authority_keeps_its_root_and_its_tokens_over_a_restart() {
    let mesh = Mesh::new();
    let folder = mesh.folder.path();
    let root = mesh.ca.root_pem().to_owned();
    JoinTokens::open(folder, TRUST_DOMAIN, &["order"]).unwrap();
    let token = fs::read(token_path(folder, "order")).unwrap();
    JoinTokens::open(folder, TRUST_DOMAIN, &["order"]).unwrap();
    assert_eq!(fs::read(token_path(folder, "order")).unwrap(), token);
    assert_eq!(LocalCa::open(folder, TRUST_DOMAIN, DEFAULT_LIFETIME).unwrap().root_pem(), root);
}

#[tokio::test]
async fn an_authority_with_another_root_is_not_joined() {
    let (mesh, impostor) = (Mesh::new(), Mesh::new());
    authority(&mesh, DEFAULT_LIFETIME).await;
    let address = authority(&impostor, DEFAULT_LIFETIME).await;
    let source = client(&address, mesh.folder.path(), "order").unwrap();
    let refused = Identity::obtain("order", source).await.err().unwrap();
    assert!(matches!(&refused, Error::Certificate(why) if why.contains("is not the one")), "{refused}");
}

#[tokio::test]
async fn a_workload_waits_for_an_authority_that_is_not_up_yet_and_renews_when_it_is() {
    let mesh = Mesh::new();
    let folder = mesh.folder.path();
    JoinTokens::open(folder, TRUST_DOMAIN, &["order", "ledger"]).unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    let source = client(&address.to_string(), folder, "order").unwrap();
    let joining = tokio::spawn(async move { Identity::obtain("order", source).await });
    drop(unused);
    let ca = Arc::new(LocalCa::open(folder, TRUST_DOMAIN, Duration::from_secs(3)).unwrap());
    let tokens = JoinTokens::open(folder, TRUST_DOMAIN, &["order", "ledger"]).unwrap();
    let server = CaServer::bind(address, ca, tokens).await.unwrap();
    tokio::spawn(server.run(mesh.draining.clone()));
    let identity = joining.await.unwrap().unwrap();
    eventually("it renews", || identity.renewals() >= 1).await;
}

#[test]
fn bad_settings_are_refused_in_a_sentence() {
    for workload in ["", "Order", "../order", "a b", "..", "order/ledger"] {
        assert!(
            JoinTokens::open(tempfile::tempdir().unwrap().path(), TRUST_DOMAIN, &[workload]).is_err(),
            "{workload}"
        );
    }
    let brief = LocalCa::new(TRUST_DOMAIN, Duration::from_millis(10)).err().unwrap().to_string();
    assert!(brief.contains("at least 2s"), "{brief}");
    assert!(LocalCa::new("no domain", DEFAULT_LIFETIME).is_err());
    let missing = CaClient::new("127.0.0.1:1", TRUST_DOMAIN, Path::new("/nowhere/ca.pem"), Path::new("/nowhere/t"));
    assert!(missing.err().unwrap().to_string().contains("/nowhere/ca.pem"));
}
