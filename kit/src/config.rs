//! Settings: secrets that do not print, values that parse with a sentence on failure, and one report of everything that
//! is wrong. Flags and environment variables are declared with clap by the binary; the parsers here are its
//! `value_parser`s.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use url::Url;

/// A text that must not appear in logs, errors or core documents. Prints as `[secret]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that nobody knows and no other process has: what a setting is until someone sets it.
    pub fn random() -> Self {
        Self(rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself. The only way to it, so that every use can be found.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

/// Whether defaults that are known to everyone will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// On someone's own machine: default secrets and demo data are welcome.
    #[default]
    Development,
    /// For real: a secret that is missing, short or a known default is a problem.
    Production,
}

/// The fewest bytes of a secret in production.
const SECRET_BYTES: usize = 32;

/// Collects every problem of a configuration, so that one run tells them all.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// No problem yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a problem: the setting (`--port or AGORA_PORT`), what is wrong with it, and what to do.
    pub fn add(&mut self, setting: &str, what: impl fmt::Display, remedy: impl fmt::Display) {
        self.0.push(format!("{setting}: {what}. {remedy}."));
    }

    /// Unwraps a parsed setting; notes the problem if it did not parse.
    pub fn take<T>(&mut self, setting: &str, parsed: Result<T, ConfigError>) -> Option<T> {
        parsed.map_err(|ConfigError { what, remedy }| self.add(setting, what, remedy)).ok()
    }

    /// Notes a secret that production must refuse: missing, too short, or `default`, which everyone can read.
    pub fn secret(&mut self, mode: Mode, setting: &str, secret: &Secret, default: &str) {
        if mode == Mode::Development {
            return;
        }
        let what = match secret.reveal() {
            "" => "is not set".to_owned(),
            value if value == default => "is the default, which everyone can read".to_owned(),
            value if value.len() < SECRET_BYTES => format!("has {} bytes", value.len()),
            _ => return,
        };
        self.add(setting, what, format!("Production needs a random secret of at least {SECRET_BYTES} bytes"));
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// All problems in one message, a line each, if there is any.
    pub fn finish(self) -> Result<(), Misconfigured> {
        if self.0.is_empty() { Ok(()) } else { Err(Misconfigured(self.0)) }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misconfigured(Vec<String>);

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration has a problem: {only}"),
            all => {
                write!(f, "the configuration has {} problems:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Misconfigured {}

/// A value that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {remedy}")]
pub struct ConfigError {
    what: String,
    remedy: String,
}

impl ConfigError {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Parses `250ms`, `30s`, `10m`, `24h` or `7d`; several may follow each other, `1h30m`.
///
/// # Errors
/// If the text is none of these, or too long a time.
pub fn duration(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::new(format!("`{text}` is no duration"), "Write it as in 250ms, 30s, 10m, 24h or 7d");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

/// Parses an address to listen on: `127.0.0.1:8080`, `[::1]:8080`, or `8080` for loopback.
///
/// # Errors
/// If the text is no address. Host names are not resolved.
pub fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let port = || text.parse::<u16>().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    text.parse().ok().or_else(port).ok_or_else(|| {
        ConfigError::new(format!("`{text}` is no address"), "Write it as in 127.0.0.1:8080, 0.0.0.0:8080 or 8080")
    })
}

/// Parses a URL with one of the schemes, and a host where the scheme has one.
///
/// # Errors
/// If the text is no URL, or has another scheme. The text is not repeated: it may hold a password.
pub fn url(text: &str, schemes: &[&str]) -> Result<Url, ConfigError> {
    let wanted = || format!("Write a URL that begins with {}", schemes.join(": or ") + ":");
    let url = Url::parse(text).map_err(|error| ConfigError::new(format!("this is no URL ({error})"), wanted()))?;
    if schemes.contains(&url.scheme()) {
        Ok(url)
    } else {
        Err(ConfigError::new(format!("the scheme `{}` is not known here", url.scheme()), wanted()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_nothing_but_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[secret] [secret] Some([secret])");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30.0), ("10m", 600.0), ("24h", 86_400.0), ("7d", 604_800.0), ("0s", 0.0)] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for wrong in
            ["", "s", "30", "-1s", "1.5h", "30 s", "30sec", "s30", "99999999999999999999d", "9999999999999999d"]
        {
            let error = duration(wrong).unwrap_err().to_string();
            assert!(error.contains("30s"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_bare_port_listens_on_loopback_only() {
        assert_eq!(address("8080").unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(address("[::1]:80").unwrap(), "[::1]:80".parse().unwrap());
        for wrong in ["", "localhost:80", "127.0.0.1", "70000", "127.0.0.1:x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_is_refused_without_showing_its_password() {
        assert_eq!(url("sqlite:/var/a.db", &["sqlite", "postgres"]).unwrap().path(), "/var/a.db");
        let error = url("mysql://me:hunter2@db/agora", &["sqlite", "postgres"]).unwrap_err().to_string();
        assert_eq!(error, "the scheme `mysql` is not known here. Write a URL that begins with sqlite: or postgres:");
        assert!(url("no url", &["http"]).is_err());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut problems = Problems::new();
        assert_eq!(problems.take("--port or AGORA_PORT", address("x")), None);
        assert_eq!(problems.take("--quote-lifetime", duration("30s")), Some(Duration::from_secs(30)));
        problems.secret(Mode::Development, "AGORA_SECRET", &Secret::new("demo"), "demo");
        problems.secret(Mode::Production, "AGORA_SECRET", &Secret::new("demo"), "demo");
        problems.secret(Mode::Production, "AGORA_SECRET", &Secret::default(), "demo");
        problems.secret(Mode::Production, "AGORA_SECRET", &Secret::new("short"), "demo");
        problems.secret(Mode::Production, "AGORA_SECRET", &Secret::new("x".repeat(32)), "demo");
        let report = problems.finish().unwrap_err().to_string();
        assert_eq!(report.lines().count(), 5, "{report}");
        assert!(report.contains("--port or AGORA_PORT: `x` is no address."), "{report}");
        assert!(!report.contains("short"), "{report}");
        assert!(Problems::new().finish().is_ok());
    }
}
