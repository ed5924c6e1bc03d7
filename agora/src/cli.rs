//! What can be typed after `agora`. Every service of the table is a command.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use clap::{
    Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue},
};
use kit::{contract::Contract, telemetry};

use sidecar::{Config, Endpoints};

use crate::{
    grant::{self, Grant},
    migrate::{self, Migrate},
    ports,
    role::{self, CaRole, EdgeRole, Role},
    routes,
    services::{self, SERVICES},
    settings::Platform,
    up::{self, Up},
};

/// An order-processing and trading platform: typed contracts, REST and gRPC, mTLS between services.
#[derive(Parser)]
#[command(name = "agora", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the whole platform in this process
    Up(Box<Up>),
    /// Runs the edge in a process of its own
    Edge(Box<EdgeRole>),
    /// Runs the certificate authority of the mesh in a process of its own
    Ca(Box<CaRole>),
    /// Brings every database up to date and ends
    Migrate(Box<Migrate>),
    /// Gives a role to someone who has an account: how a platform gets its first admin
    Grant(Box<Grant>),
    /// Lists every route with its RPC and its policy
    Routes(Routes),
    /// Looks at the mesh
    #[command(subcommand)]
    Mesh(MeshVerb),
}

#[derive(Subcommand)]
enum MeshVerb {
    /// Says why a call between workloads is allowed or refused, where it goes, and whether it is repeated
    Explain {
        /// Who calls: `edge`, `order`, …
        #[arg(long, default_value = "edge", value_name = "WORKLOAD")]
        from: String,
        /// The RPC: `/agora.ledger.v1.LedgerService/PostTransaction`
        #[arg(value_name = "RPC")]
        method: String,
    },
}

#[derive(Args)]
struct Routes {
    /// How to print them
    #[arg(long, value_enum, default_value = "table")]
    output: Listing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Listing {
    Table,
    Json,
}

/// Reads the command line and carries it out.
///
/// # Errors
/// One sentence for the person who typed it.
pub fn run() -> Result<()> {
    let matches = command().try_get_matches().unwrap_or_else(|error| refuse(&error));
    if let Some((name, arguments)) = matches.subcommand()
        && let Some(service) = services::find(name)
    {
        let role = Role::from_arg_matches(arguments).unwrap_or_else(|error| error.exit());
        return block_on(role.platform.clone(), service.name, role::run(service, role));
    }
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Verb::Up(up) => block_on(up.platform.clone(), "agora", up::run(*up)),
        Verb::Edge(edge) => block_on(edge.role.platform.clone(), "edge", role::run_edge(*edge)),
        Verb::Ca(ca) => block_on(ca.platform.clone(), "ca", role::run_ca(*ca)),
        Verb::Migrate(migrate) => block_on(migrate.platform.clone(), "migrate", migrate::run(*migrate)),
        Verb::Grant(grant) => block_on(grant.platform.clone(), "grant", grant::run(*grant)),
        Verb::Routes(Routes { output }) => print_routes(output),
        Verb::Mesh(MeshVerb::Explain { from, method }) => explain(&from, &method),
    }
}

/// The command with a subcommand for every service.
pub fn command() -> Command {
    SERVICES.iter().fold(Cli::command(), |command, service| {
        let about = format!("Runs {} in a process of its own: {}", service.name, lower_first(service.about));
        command.subcommand(Role::augment_args(Command::new(service.name)).about(about))
    })
}

/// Says what was wrong with what was typed, and ends. A value that nobody typed is told by the name of its variable too.
fn refuse(error: &clap::Error) -> ! {
    if let (Some(ContextValue::String(flag)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
        && let Some(variable) = variable(flag.split(' ').next().unwrap_or_default())
        && std::env::var_os(&variable).is_some_and(|set| set == value.as_str())
        && !std::env::args_os().any(|typed| typed.to_string_lossy().ends_with(value.as_str()))
    {
        // Nobody may be there to read it.
        let _ = error.print();
        let _ = writeln!(std::io::stderr(), "\nThe value is that of {variable} in the environment.");
        std::process::exit(2);
    }
    error.exit()
}

/// The environment's variable for a flag.
fn variable(flag: &str) -> Option<String> {
    let command = command();
    let mut arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let found = arguments.find(|one| one.get_long() == flag.strip_prefix("--"))?;
    Some(found.get_env()?.to_string_lossy().into_owned())
}

fn print_routes(output: Listing) -> Result<()> {
    let contract = Contract::parse(contracts::DESCRIPTORS).context("the contract is broken")?;
    match output {
        Listing::Table => say(&routes::table(&contract)),
        Listing::Json => say(&format!("{:#}\n", routes::json(&contract))),
    }
}

fn explain(from: &str, method: &str) -> Result<()> {
    let contract = Contract::parse(contracts::DESCRIPTORS).context("the contract is broken")?;
    let endpoints = Endpoints::new();
    for service in SERVICES {
        endpoints.set(service.name, [ports::inbound(service.name).to_string()]);
    }
    let config = Config::new(ports::inbound(from), endpoints);
    // Written with the leading slash or without.
    let method = format!("/{}", method.trim_start_matches('/'));
    say(&sidecar::explain(&contract, &config, from, &method))
}

/// Prints to whoever reads. That nobody does any more, as after `| head`, is no fault.
fn say(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn block_on(platform: Platform, name: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    // One provider for the whole process, before the first handshake. A second call would only find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    runtime.block_on(async {
        let _telemetry = telemetry::init(&telemetry::Options {
            service: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            filter: platform.logs.log.clone(),
            format: platform.logs.log_format,
            otlp_endpoint: platform.logs.otlp_endpoint.clone(),
        })?;
        work.await
    })
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
