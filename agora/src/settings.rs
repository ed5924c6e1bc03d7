//! Everything that can be set, by flag or by environment, and the check that reports every problem at once.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args;
use kit::{
    config::{self, Mode, Problems, Secret},
    telemetry,
};

/// The secret of a development platform. Production refuses it.
pub const DEVELOPMENT_SECRET: &str = "agora-development-secret-not-for-production";

/// Who sells in a demo. Production names somebody who exists.
const DEMO_SELLER: &str = "Agora;1 Market Square;12345 Agora";

/// For how long inventory sets goods aside: whole seconds, a day at the most.
const RESERVATION_LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// The longest that a purchase may take to be confirmed: goods are set aside a little longer.
const LONGEST_SAGA: Duration = Duration::from_secs(23 * 3600);

/// As many basis points make a whole.
const WHOLE_BPS: u32 = 10_000;

/// Settings that every role shares.
#[derive(Args, Clone, Debug)]
pub struct Platform {
    /// Where databases, sockets and certificates are kept
    #[arg(long, env = "AGORA_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// `production` refuses default secrets and demo data
    #[arg(long, env = "AGORA_MODE", value_enum, default_value = "development")]
    pub mode: Mode,
    /// The secret from which page tokens, quotes and the seal of signing keys are derived
    #[arg(long, env = "AGORA_SECRET", default_value = DEVELOPMENT_SECRET, hide_default_value = true, hide_env_values = true)]
    pub secret: Secret,
    /// One database per service; `{data}` and `{name}` are filled in
    #[arg(long, env = "AGORA_DATABASE", default_value = "sqlite:{data}/{name}.db", value_name = "URL")]
    pub database: String,
    /// Where facts are logged; `{data}` is filled in
    #[arg(long, env = "AGORA_EVENTS", default_value = "sql:sqlite:{data}/events.db", value_name = "URL")]
    pub events: String,
    /// How many units of work may share one commit
    #[arg(long, env = "AGORA_GROUP_LIMIT", default_value_t = 256, value_name = "N")]
    pub group_limit: usize,
    /// Demo people, goods in stock, and a demo bank that settles withdrawals; on in development unless said otherwise
    #[arg(long, env = "AGORA_DEMO", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub demo: Option<bool>,
    /// A demo warehouse that ships what is confirmed by itself; on with the demo unless said otherwise
    #[arg(long, env = "AGORA_DEMO_WAREHOUSE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub demo_warehouse: Option<bool>,
    /// A simulator that takes test cards; on with the demo unless said otherwise, and refused in production
    #[arg(long, env = "AGORA_CARD_SIMULATOR", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub card_simulator: Option<bool>,
    /// Who writes the invoices: name and address, a line each
    #[arg(long, env = "AGORA_SELLER", value_delimiter = ';', default_value = DEMO_SELLER, value_name = "LINE;…")]
    pub seller: Vec<String>,
    // How long things last.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub lifetimes: Lifetimes,
    // Where prices come from.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub market: Market,
    // What is logged.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub logs: Logs,
}

/// How long things last.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Lifetimes")]
pub struct Lifetimes {
    /// Access tokens
    #[arg(long, env = "AGORA_ACCESS_TOKEN_LIFETIME", default_value = "10m", value_parser = config::duration, value_name = "TIME")]
    pub access_token_lifetime: Duration,
    /// Sessions, unless they are refreshed
    #[arg(long, env = "AGORA_SESSION_LIFETIME", default_value = "30d", value_parser = config::duration, value_name = "TIME")]
    pub session_lifetime: Duration,
    /// Signing keys, until the next takes over
    #[arg(long, env = "AGORA_SIGNING_KEY_LIFETIME", default_value = "30d", value_parser = config::duration, value_name = "TIME")]
    pub signing_key_lifetime: Duration,
    /// Quotes
    #[arg(long, env = "AGORA_QUOTE_LIFETIME", default_value = "30s", value_parser = config::duration, value_name = "TIME")]
    pub quote_lifetime: Duration,
    /// Quotes of purchases
    #[arg(long, env = "AGORA_PURCHASE_QUOTE_LIFETIME", default_value = "15m", value_parser = config::duration, value_name = "TIME")]
    pub purchase_quote_lifetime: Duration,
    /// How long the demo warehouse takes to ship an order
    #[arg(long, env = "AGORA_SHIP_DELAY", default_value = "3s", value_parser = config::duration, value_name = "TIME")]
    pub ship_delay: Duration,
    /// For how long goods can be returned after they were shipped
    #[arg(long, env = "AGORA_RETURN_WINDOW", default_value = "30d", value_parser = config::duration, value_name = "TIME")]
    pub return_window: Duration,
    /// For how long goods are set aside for a purchase that is not confirmed yet; it is rejected if it takes longer
    /// [default: 15 minutes, or five more than the saga deadline]
    #[arg(long, env = "AGORA_RESERVATION_LIFETIME", value_parser = config::duration, value_name = "TIME")]
    pub reservation_lifetime: Option<Duration>,
    /// For how long money stays secured for what is not shipped yet; then the rest of the order is undone
    #[arg(long, env = "AGORA_AUTHORIZATION_LIFETIME", default_value = "7d", value_parser = config::duration, value_name = "TIME")]
    pub authorization_lifetime: Duration,
    /// How long a purchase may take to be confirmed before it is undone
    #[arg(long, env = "AGORA_SAGA_DEADLINE", default_value = "25s", value_parser = config::duration, value_name = "TIME")]
    pub saga_deadline: Duration,
    /// Certificates of workloads
    #[arg(long, env = "AGORA_CERTIFICATE_LIFETIME", default_value = "24h", value_parser = config::duration, value_name = "TIME")]
    pub certificate_lifetime: Duration,
    /// How long the demo bank takes to pay a withdrawal
    #[arg(long, env = "AGORA_SETTLE_DELAY", default_value = "2s", value_parser = config::duration, value_name = "TIME")]
    pub settle_delay: Duration,
    /// When an order that a crash left pending is taken up again
    #[arg(long, env = "AGORA_RECONCILE_AFTER", default_value = "5s", value_parser = config::duration, value_name = "TIME")]
    pub reconcile_after: Duration,
    /// How long calls may take to finish when the process is asked to end
    #[arg(long, env = "AGORA_DRAIN_LIMIT", default_value = "20s", value_parser = config::duration, value_name = "TIME")]
    pub drain_limit: Duration,
}

/// Where prices come from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Market")]
pub struct Market {
    /// Where prices come from: `walk`, `walk:<seed>` or `file:<path>`
    #[arg(long, env = "AGORA_FEED", default_value = "walk", value_name = "FEED")]
    pub feed: catalog::feed::FeedChoice,
    /// How often prices move
    #[arg(long, env = "AGORA_TICK_INTERVAL", default_value = "1s", value_parser = config::duration, value_name = "TIME")]
    pub tick_interval: Duration,
    /// How old a price may be to trade on; at least three tick intervals
    #[arg(long, env = "AGORA_PRICE_AGE_MAX", default_value = "10s", value_parser = config::duration, value_name = "TIME")]
    pub price_age_max: Duration,
    /// The fee of a trade, in basis points
    #[arg(long, env = "AGORA_FEE_BPS", default_value_t = 10, value_name = "BPS")]
    pub fee_bps: u32,
    /// How far the market may move against a caller who does not say, in basis points
    #[arg(long, env = "AGORA_MAX_SLIPPAGE_BPS", default_value_t = 100, value_name = "BPS")]
    pub max_slippage_bps: u32,
}

/// What is logged, and where traces go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct Logs {
    /// Which events are logged, as `tracing` filters them: `info`, `warn,order=debug`
    #[arg(long, env = "AGORA_LOG", default_value = "warn", value_name = "FILTER")]
    pub log: String,
    /// How log lines look
    #[arg(long, env = "AGORA_LOG_FORMAT", value_enum, default_value = "pretty")]
    pub log_format: telemetry::Format,
    /// Where traces are sent (OTLP over gRPC); nowhere unless set
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// The edge.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Edge")]
pub struct EdgeSettings {
    /// Where callers reach the platform
    #[arg(long, env = "AGORA_HOST", default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: std::net::IpAddr,
    /// The port of REST, gRPC and the pages; 0 takes a free one
    #[arg(long, short, env = "AGORA_PORT", default_value_t = 8080)]
    pub port: u16,
    /// The longest request body, in bytes
    #[arg(long, env = "AGORA_BODY_MAX", default_value_t = 1 << 20, value_name = "BYTES")]
    pub body_max: usize,
    /// Whether the rate limits of the contract hold; off for load tests only
    #[arg(long, env = "AGORA_RATE_LIMITS", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub rate_limits: bool,
}

/// Where a role of its own finds the others.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mesh")]
pub struct Mesh {
    /// Where this workload's sidecar listens [default: the service's port of the port table]
    #[arg(long, env = "AGORA_INBOUND", value_name = "ADDRESS")]
    pub inbound: Option<SocketAddr>,
    /// Where health and metrics are shown [default: the service's admin port of the port table]
    #[arg(long, env = "AGORA_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// Where the certificate authority listens
    #[arg(long, env = "AGORA_CA", default_value = "127.0.0.1:9100", value_name = "ADDRESS")]
    pub ca: String,
    /// The folder with `ca.pem` and `join/<workload>.token` [default: `<data-dir>/ca`]
    #[arg(long, env = "AGORA_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Where the others are, where not at the port table: `order=10.0.0.7:9105,ledger=…`; several of one are balanced
    #[arg(long, env = "AGORA_ENDPOINTS", value_delimiter = ',', value_name = "NAME=ADDRESS", value_parser = endpoint)]
    pub endpoints: Vec<(String, String)>,
}

/// The domain of every identity that this mesh issues.
pub const TRUST_DOMAIN: &str = "agora.local";

/// What a key that is derived from the platform's secret is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Signs page tokens.
    Pages,
    /// Signs quotes.
    Quotes,
    /// Seals signing keys, and hides emails in the count of failed logins.
    Keys,
    /// Signs what the card simulator has to tell.
    Webhooks,
}

impl Platform {
    /// Every problem of these settings, to be reported at once.
    pub fn check(&self) -> Problems {
        let mut problems = Problems::new();
        problems.secret(self.mode, "--secret (AGORA_SECRET)", &self.secret, DEVELOPMENT_SECRET);
        if self.mode == Mode::Production && self.demo == Some(true) {
            problems.add("--demo (AGORA_DEMO)", "is on in production", "Leave it out, since its passwords are public");
        }
        if self.mode == Mode::Production {
            if self.card_simulator == Some(true) {
                let remedy = "Leave it out, since it takes cards that do not exist";
                problems.add("--card-simulator (AGORA_CARD_SIMULATOR)", "is on in production", remedy);
            }
            if self.demo_warehouse == Some(true) {
                let remedy = "Leave it out, since it charges for goods that nobody packs";
                problems.add("--demo-warehouse (AGORA_DEMO_WAREHOUSE)", "is on in production", remedy);
            }
            if self.seller.join(";") == DEMO_SELLER {
                problems.add(
                    "--seller (AGORA_SELLER)",
                    "is not set",
                    "Say who writes the invoices: `Name;Street;Town`",
                );
            }
        }
        if !self.events.starts_with("sql:") {
            let remedy = "Write it as `sql:sqlite:PATH` or `sql:postgres://…`";
            problems.add("--events (AGORA_EVENTS)", shown(&self.events), remedy);
        }
        if self.group_limit == 0 {
            problems.add("--group-limit (AGORA_GROUP_LIMIT)", "is 0", "1 gives every unit a commit of its own");
        }
        for (name, time) in [
            ("--access-token-lifetime", self.lifetimes.access_token_lifetime),
            ("--session-lifetime", self.lifetimes.session_lifetime),
            ("--signing-key-lifetime", self.lifetimes.signing_key_lifetime),
            ("--quote-lifetime", self.lifetimes.quote_lifetime),
            ("--purchase-quote-lifetime", self.lifetimes.purchase_quote_lifetime),
            ("--reconcile-after", self.lifetimes.reconcile_after),
            ("--saga-deadline", self.lifetimes.saga_deadline),
            ("--authorization-lifetime", self.lifetimes.authorization_lifetime),
            ("--tick-interval", self.market.tick_interval),
        ] {
            if time.is_zero() {
                problems.add(name, "is zero", "Give it a time such as `30s`");
            }
        }
        if self.lifetimes.reservation_lifetime.is_some_and(|time| !RESERVATION_LIFETIMES.contains(&time)) {
            let remedy = "Give it a second at least and 24 hours at most, such as `15m`";
            problems.add("--reservation-lifetime (AGORA_RESERVATION_LIFETIME)", "is too short or too long", remedy);
        }
        if self.lifetimes.saga_deadline > LONGEST_SAGA {
            let remedy = "Goods are set aside for longer than that, and for 24 hours at most: give it 23 hours or less";
            problems.add("--saga-deadline (AGORA_SAGA_DEADLINE)", "is too long", remedy);
        }
        for (name, bps) in [("--fee-bps", self.market.fee_bps), ("--max-slippage-bps", self.market.max_slippage_bps)] {
            if bps >= WHOLE_BPS {
                problems.add(name, format!("is {bps}"), "10,000 basis points are the whole, so give it less");
            }
        }
        if self.market.price_age_max < 3 * self.market.tick_interval {
            let remedy = "A price comes with every third tick, so give it three tick intervals at least";
            problems.add("--price-age-max (AGORA_PRICE_AGE_MAX)", "is too short", remedy);
        }
        problems
    }

    /// The same, for a process that opens the databases of several services.
    pub fn check_all(&self) -> Problems {
        let mut problems = self.check();
        if !matches!(scheme(&self.database), Some("sqlite" | "postgres" | "postgresql")) {
            let remedy = "Write it as `sqlite:{data}/{name}.db` or `postgres://app@localhost/agora_{name}`";
            problems.add("--database (AGORA_DATABASE)", shown(&self.database), remedy);
        } else if !self.database.contains("{name}") {
            let remedy = "Each service has a database of its own, such as `postgres://app@localhost/agora_{name}`";
            problems.add("--database (AGORA_DATABASE)", "has no `{name}`", remedy);
        }
        problems
    }

    /// Whether a database is kept in the data folder.
    pub fn is_embedded(&self) -> bool {
        [&self.database, &self.events].iter().any(|url| url.contains("{data}"))
    }

    /// Whether there are demo people and a demo bank.
    pub fn demo(&self) -> bool {
        self.demo.unwrap_or(self.mode == Mode::Development)
    }

    /// Whether a demo warehouse ships.
    pub fn demo_warehouse(&self) -> bool {
        self.demo_warehouse.unwrap_or(self.demo())
    }

    /// Whether test cards are taken.
    pub fn card_simulator(&self) -> bool {
        self.card_simulator.unwrap_or(self.demo())
    }

    /// The database of a service.
    pub fn database_of(&self, name: &str) -> String {
        self.database.replace("{data}", &self.data_dir.to_string_lossy()).replace("{name}", name)
    }

    /// The log of facts.
    pub fn events_url(&self) -> String {
        self.events.replace("{data}", &self.data_dir.to_string_lossy())
    }

    /// A key of its own for each purpose, derived from the platform's secret (HMAC-SHA256).
    pub fn key(&self, purpose: Purpose) -> Secret {
        derive(
            &self.secret,
            match purpose {
                Purpose::Pages => "pages",
                Purpose::Quotes => "quotes",
                Purpose::Keys => "keys",
                Purpose::Webhooks => "webhooks",
            },
        )
    }
}

/// What a URL begins with, before the colon.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once(':')?;
    scheme.bytes().all(|byte| byte.is_ascii_lowercase()).then_some(scheme)
}

/// What can be told of a URL that is none of ours: the rest may hold a password.
fn shown(url: &str) -> String {
    scheme(url).map_or_else(|| "is no URL".to_owned(), |scheme| format!("begins with `{scheme}:`"))
}

fn endpoint(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && address.contains(':') => Ok((name.to_owned(), address.to_owned())),
        _ => Err("write it as NAME=HOST:PORT".to_owned()),
    }
}

fn derive(secret: &Secret, purpose: &str) -> Secret {
    use hmac::{Hmac, Mac};
    // A MAC takes a key of any length, so this cannot fail; an empty key would show at once in production mode.
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.reveal().as_bytes()).unwrap_or_else(|_| unreachable!());
    mac.update(purpose.as_bytes());
    Secret::new(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        platform: Platform,
    }

    #[test]
    fn a_purchase_is_confirmed_while_its_goods_can_be_set_aside() {
        let check = |time: &str| {
            Typed::parse_from(["agora", "--saga-deadline", time]).platform.check().finish().map_err(|e| e.to_string())
        };
        assert_eq!(check("23h"), Ok(()));
        let report = check("24h").unwrap_err();
        assert!(report.contains("--saga-deadline (AGORA_SAGA_DEADLINE)"), "{report}");
    }

    #[test]
    fn goods_are_set_aside_for_a_second_at_least_and_a_day_at_most() {
        let check = |time: &str| {
            Typed::parse_from(["agora", "--reservation-lifetime", time])
                .platform
                .check()
                .finish()
                .map_err(|e| e.to_string())
        };
        for time in ["0s", "999ms", "86401s", "2d"] {
            let report = check(time).unwrap_err();
            assert!(report.contains("--reservation-lifetime (AGORA_RESERVATION_LIFETIME)"), "{time}: {report}");
        }
        for time in ["1s", "15m", "24h"] {
            assert_eq!(check(time), Ok(()));
        }
    }
}
