//! Contracts written down inside a test.

use std::path::Path;

use kit::contract::{Contract, ContractError};
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};

const NAME: &str = "agora/thing/v1/thing.proto";
const HEAD: &str = r#"
    syntax = "proto3";
    package agora.thing.v1;
    import "agora/policy/v1/policy.proto";
    import "agora/type/v1/reason.proto";
    import "buf/validate/validate.proto";
    import "google/api/annotations.proto";
"#;

/// A file that is nowhere but in memory.
struct Inline(String);

impl FileResolver for Inline {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == NAME { File::from_source(name, &self.0) } else { Err(Error::file_not_found(name)) }
    }
}

/// The descriptors of a file of package `agora.thing.v1` with this text.
pub fn compile(text: &str) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = ChainFileResolver::new();
    files.add(Inline(format!("{HEAD}{text}")));
    files.add(IncludeFileResolver::new(here.join("../proto")));
    files.add(IncludeFileResolver::new(here.join("../third_party/proto")));
    files.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file(NAME).unwrap_or_else(|error| panic!("{error}: {text}"));
    compiler.encode_file_descriptor_set()
}

/// The contract of a file of package `agora.thing.v1` with this text.
pub fn contract(text: &str) -> Result<Contract, ContractError> {
    Contract::parse(&compile(text))
}
