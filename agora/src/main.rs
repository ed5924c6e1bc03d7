//! The one binary: `agora up` runs everything, `agora <role>` one service, and a few commands look at the contract.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match agora::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nagora: {error:#}");
            ExitCode::FAILURE
        }
    }
}
