//! Compiles every file of `proto/` to typed clients and servers, and to one descriptor set that keeps comments and
//! options. Needs no protoc.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let (ours, theirs) = (Path::new("proto"), Path::new("third_party/proto"));
    println!("cargo:rerun-if-changed={}", ours.display());
    println!("cargo:rerun-if-changed={}", theirs.display());

    let mut compiler = protox::Compiler::new([ours, theirs])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(protos(ours)?)?;
    // A caller may get these in `google.rpc.Status.details`; whoever reads the descriptors must know them.
    compiler.open_file("google/rpc/error_details.proto")?;
    compiler.open_file("google/rpc/status.proto")?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    // From the encoded bytes, since the parsed types would drop the options that are extensions.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    let mut files = compiler.file_descriptor_set();
    let ours = ["agora/", "google/protobuf/", "google/api/httpbody.proto"];
    files.file.retain(|file| ours.iter().any(|beginning| file.name().starts_with(beginning)));
    tonic_prost_build::configure().include_file("tree.rs").compile_fds_with_config(files, prost)?;
    Ok(())
}

/// Lists the `.proto` files below `folder`, in a stable order.
fn protos(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(protos(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
