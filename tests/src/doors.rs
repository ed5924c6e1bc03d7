//! Every port of the platform is tried: nothing without a certificate of our authority speaks as a service.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use agora::services::SERVICES;
use anyhow::{Context, Result};
use http::Request;
use kit::{Body, contract::Access};
use serde_json::json;
use sidecar::{Config, Endpoints, Identity, JoinTokens, LocalCa, Sidecar, Source, token_path};
use tower::ServiceExt;

use crate::{
    client::Protocol,
    people::{Person, text},
    platform::{Platform, Process, Shape, eventually},
};

const PATIENCE: Duration = Duration::from_secs(5);
/// The first byte of a TLS alert (RFC 8446 §5.1).
const TLS_ALERT: u8 = 0x15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_port_but_the_edge_speaks_to_someone_without_a_certificate() -> Result<()> {
    let platform = Platform::start(Shape::Meshed).await?;
    let edge: SocketAddr = platform.address.parse()?;
    let listening = listening_ports(&[platform.process_id()])?;
    assert!(listening.contains(&edge.port()));
    assert_eq!(listening.len(), 1 + platform.sidecars.len(), "the edge and the sidecars, nothing else: {listening:?}");
    for port in listening.iter().filter(|port| **port != edge.port()) {
        let heard = greet(*port)?;
        assert!(heard.is_empty() || heard[0] == TLS_ALERT, "port {port} answers plaintext with {heard:?}");
    }
    Ok(())
}

/// With a process per role there are the authority and the pages for operators, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_port_of_any_role_but_the_edge_speaks_grpc_to_a_stranger() -> Result<()> {
    let mut platform = Platform::start(Shape::Roles).await?;
    let edge: SocketAddr = platform.address.parse()?;
    let processes: Vec<u32> = platform.processes().iter().map(Process::id).collect();
    let listening = listening_ports(&processes)?;
    // The edge, the authority, a sidecar and a page for each service, a page for the edge.
    assert_eq!(listening.len(), 2 + 2 * SERVICES.len() + 1, "{listening:?}");
    for port in listening.iter().filter(|port| **port != edge.port()) {
        let heard = greet(*port)?;
        let http1 = heard.starts_with(b"HTTP/1.1 4");
        assert!(heard.is_empty() || heard[0] == TLS_ALERT || http1, "port {port} answers with {heard:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_opens_nothing() -> Result<()> {
    let platform = Platform::start(Shape::Meshed).await?;
    let stranger = Source::Local(Arc::new(LocalCa::new("agora.local", Duration::from_secs(600))?));
    let answer = call_as(&platform, "order", stranger, "/agora.ledger.v1.LedgerService/PostTransaction").await?;
    assert_eq!(answer, "UNAVAILABLE");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_its_own_certificate_may_only_call_what_names_it() -> Result<()> {
    let platform = Platform::start(Shape::Roles).await?;
    let folder = platform.data.join("ca");
    let ca = platform.setting("AGORA_CA").context("the address of the authority")?;
    let joined = |workload: &str| -> Result<Source> {
        let client = sidecar::CaClient::new(ca, "agora.local", &folder.join("ca.pem"), &token_path(&folder, workload))?;
        Ok(Source::Remote(Arc::new(client)))
    };
    // The token of catalog gives the identity of catalog, and no other.
    let wrong = Identity::obtain("order", joined("catalog")?).await;
    assert!(wrong.is_err(), "the join token of catalog gave the identity of order");
    for service in SERVICES {
        let closed = platform.contract.methods().filter(|method| method.context == service.name);
        let closed: Vec<_> = closed
            .filter(|method| method.policy.access != Access::Public && !method.policy.admits_service("catalog"))
            .collect();
        assert!(!closed.is_empty(), "{} has nothing to protect", service.name);
        for method in closed {
            let answer = call_as(&platform, "catalog", joined("catalog")?, &method.path).await?;
            assert_eq!(answer, "PERMISSION_DENIED", "{} as catalog", method.path);
        }
    }
    let authenticate = "/agora.user.v1.UserService/Authenticate";
    // Whom the contract names gets as far as the validation of an empty request.
    assert_eq!(call_as(&platform, "auth", joined("auth")?, authenticate).await?, "INVALID_ARGUMENT");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_of_a_client_is_believed_as_identity() -> Result<()> {
    let platform = Platform::start(Shape::Direct).await?;
    let client = platform.client(Protocol::Rest)?;
    let admin = Person::admin(&client).await?;
    let forged = "By=spiffe://agora.local/ns/default/sa/ledger;URI=spiffe://agora.local/ns/default/sa/ledger";
    let headers = [
        ("x-forwarded-client-cert", forged),
        ("grpc-metadata-x-forwarded-client-cert", forged),
        ("grpc-metadata-authorization", "Bearer x"),
        ("x-agora-user", admin.id.as_str()),
    ];
    let settle = "/api/v1/balance/withdrawals/wdl_01h455vb4pex5vsknk084sn02q:settle";
    let body = json!({"outcome": "OUTCOME_PAID"});
    let (status, _) = client.http_request(http::Method::POST, settle, Some(body), &headers).await?;
    assert_eq!(status, 401);
    Ok(())
}

/// Past the edge, each service verifies the token itself: an ended session is over everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_refused_by_every_service_itself() -> Result<()> {
    let platform = Platform::start(Shape::Roles).await?;
    let client = platform.client(Protocol::Grpc)?;
    let person = Person::register(&client).await?;
    let other = Person::login(&client, &person.email, &person.password).await?;
    let edge = Door::joined(&platform, "edge").await?;
    let token = text(&other.tokens["accessToken"]);
    let mut doors = Vec::new();
    for service in SERVICES {
        let closed = |access| matches!(access, Access::Owner | Access::Roles);
        let mut methods = platform.contract.methods().filter(|method| method.context == service.name);
        // catalog asks for no one in particular, but for quotes and the work of merchants.
        let method = methods.find(|method| closed(method.policy.access)).context(service.name)?;
        let before = edge.call(&method.path, Some(token)).await?;
        assert_ne!(before, "UNAUTHENTICATED", "{} before", method.path);
        doors.push(method.path.clone());
    }
    let revoke = json!({"id": other.tokens["sessionId"]});
    person.call("auth.v1.AuthService/RevokeSession", revoke).await?;
    let revoked = std::time::Instant::now();
    for path in doors {
        eventually("the service refuses the token", async || {
            let answer = edge.call(&path, Some(token)).await.ok()?;
            (answer == "UNAUTHENTICATED").then_some(())
        })
        .await;
        eprintln!("{path} refuses a revoked token {:?} after it was revoked", revoked.elapsed());
    }
    Ok(())
}

/// What a port says to someone who opens HTTP/2 without TLS.
fn greet(port: u16) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut heard = Vec::new();
    // A reset, even while we write, is as good an answer as an alert.
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let _ = stream.read_to_end(&mut heard);
    Ok(heard)
}

/// Calls an RPC with an empty request as a workload of `source`, past the edge. Gives the name of the code.
async fn call_as(platform: &Platform, workload: &str, source: Source, path: &str) -> Result<String> {
    Door::open(platform, workload, source).await?.call(path, None).await
}

/// A way into the mesh past the edge.
pub struct Door(Sidecar);

impl Door {
    /// A way as a workload whose join token the platform has in its folder.
    pub async fn joined(platform: &Platform, workload: &str) -> Result<Self> {
        let folder = platform.data.join("ca");
        let ca = platform.setting("AGORA_CA").context("the address of the authority")?;
        let client = sidecar::CaClient::new(ca, "agora.local", &folder.join("ca.pem"), &token_path(&folder, workload))?;
        Self::open(platform, workload, Source::Remote(Arc::new(client))).await
    }

    /// The way itself, for a client of the contract.
    pub fn link(&self) -> kit::link::Link {
        self.0.outbound().link()
    }

    async fn open(platform: &Platform, workload: &str, source: Source) -> Result<Self> {
        let endpoints = Endpoints::new();
        for (name, address) in &platform.sidecars {
            endpoints.set(name, [address.clone()]);
        }
        let identity = Identity::obtain(workload, source).await?;
        let config = Config::new("127.0.0.1:0".parse()?, endpoints);
        Ok(Self(Sidecar::new(config, identity, platform.contract.clone())?))
    }

    /// Calls an RPC with an empty request. Gives the name of the code.
    async fn call(&self, path: &str, token: Option<&str>) -> Result<String> {
        let mut request = Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "5S");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]))))?;
        let response = self.0.outbound().link().oneshot(request).await?;
        let status = match tonic::Status::from_header_map(response.headers()) {
            Some(status) => status,
            // An answer has its status after its messages.
            None => {
                let body = http_body_util::BodyExt::collect(response.into_body()).await?;
                body.trailers().and_then(tonic::Status::from_header_map).context("no status")?
            }
        };
        Ok(crate::client::screaming(status.code()))
    }
}

/// The TCP ports on which these processes listen, as the kernel says.
fn listening_ports(processes: &[u32]) -> Result<BTreeSet<u16>> {
    let mut sockets = BTreeSet::new();
    for process in processes {
        for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
            let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
            if let Some(inode) = target.to_string_lossy().strip_prefix("socket:[") {
                sockets.insert(inode.trim_end_matches(']').to_owned());
            }
        }
    }
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table)?.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
                continue;
            };
            if sockets.contains(*inode)
                && let Some((_, port)) = local.rsplit_once(':')
            {
                ports.insert(u16::from_str_radix(port, 16)?);
            }
        }
    }
    Ok(ports)
}

#[test]
fn join_tokens_are_for_their_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    JoinTokens::open(folder.path(), "agora.local", &["order"])?;
    let mode = std::fs::metadata(token_path(folder.path(), "order"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}
