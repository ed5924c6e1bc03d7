//! The test contract.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use kit::contract::{self, Contract};

/// The contract of `proto/`, installed.
pub fn contract() -> Arc<Contract> {
    static CONTRACT: OnceLock<Arc<Contract>> = OnceLock::new();
    let compile = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let includes = ["tests/edge/proto", "../proto", "../third_party/proto"].map(|folder| root.join(folder));
        let mut compiler = protox::Compiler::new(includes).unwrap();
        compiler.include_imports(true).include_source_info(true);
        compiler.open_files(["test/v1/thing.proto", "agora/type/v1/reason.proto"]).unwrap();
        let contract = Arc::new(Contract::parse(&compiler.encode_file_descriptor_set()).unwrap());
        contract::install(contract.clone());
        contract
    };
    CONTRACT.get_or_init(compile).clone()
}
