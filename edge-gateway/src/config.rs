//! What an edge can be told.

use std::{fmt, sync::Arc, time::Duration};

use kit::contract::RateLimit;

/// The limits of the edge and what it shows on its own pages.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in the mesh.
    pub workload: String,
    /// The longest request body, in bytes.
    pub body_max: usize,
    /// The longest reply of a unary RPC, in bytes.
    pub reply_max: usize,
    /// The longest request head (line and headers), in bytes.
    pub head_max: usize,
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Streams at a time on one HTTP/2 connection.
    pub streams_max: u32,
    /// How long a client may take to send its headers, or leave a connection idle.
    pub head_timeout: Duration,
    /// How long a unary RPC may take whose policy does not say.
    pub timeout: Duration,
    /// How often one caller may call an RPC whose policy does not say.
    pub rate_limit: RateLimit,
    /// Rate limits are off for benchmarks and load tests only.
    pub rate_limited: bool,
    /// How often a quiet event stream is sent a comment, so that proxies keep it.
    pub heartbeat: Duration,
    /// What the edge shows on its own pages.
    pub pages: Pages,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workload: "edge".to_owned(),
            body_max: 1 << 20,
            reply_max: 4 << 20,
            head_max: 32 << 10,
            connections_max: 4096,
            streams_max: 256,
            head_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            rate_limit: RateLimit { requests: 600, per: Duration::from_secs(60) },
            rate_limited: true,
            heartbeat: Duration::from_secs(15),
            pages: Pages::default(),
        }
    }
}

/// Text that others supply for a page of the edge.
pub type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// What the edge shows on its own pages.
#[derive(Clone)]
pub struct Pages {
    /// The title of the documentation.
    pub title: String,
    /// What this platform is, in a sentence or two.
    pub description: String,
    /// Its version.
    pub version: String,
    /// More lines for the front page: demo logins, example calls.
    pub welcome: String,
    /// The JSON Web Key Set.
    pub jwks: Text,
    /// Prometheus text.
    pub metrics: Text,
    /// Why the platform is not ready; nothing when it is.
    pub not_ready: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            title: "API".to_owned(),
            description: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            welcome: String::new(),
            jwks: Arc::new(|| r#"{"keys":[]}"#.to_owned()),
            metrics: Arc::new(String::new),
            not_ready: Arc::new(|| None),
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("title", &self.title).finish_non_exhaustive()
    }
}
