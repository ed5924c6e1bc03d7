//! Compiles every file of `proto/` to typed clients and servers, and to one descriptor set that keeps comments and
//! options. Needs no protoc. What the contract marks with `debug_redact` is in no `Debug` output.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use prost_reflect::{FieldDescriptor, MessageDescriptor};

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

    let pool = compiler.descriptor_pool();
    let secretive: Vec<_> =
        pool.all_messages().filter(|message| message.fields().any(|field| is_secret(&field))).collect();
    let code = secretive.iter().map(redacting).collect::<Result<String>>()?;
    fs::write(out.join("redacted.rs"), code)?;

    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    prost.skip_debug(secretive.iter().map(|message| format!(".{}", message.full_name())));
    let mut files = compiler.file_descriptor_set();
    let ours = ["agora/", "google/protobuf/", "google/api/httpbody.proto"];
    files.file.retain(|file| ours.iter().any(|beginning| file.name().starts_with(beginning)));
    tonic_prost_build::configure().include_file("tree.rs").compile_fds_with_config(files, prost)?;
    Ok(())
}

/// Whether a field has `[debug_redact = true]`.
fn is_secret(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or_default()
}

/// A `Debug` of a message that says nothing of its secrets.
fn redacting(message: &MessageDescriptor) -> Result<String> {
    let inner = message.child_messages().len() + message.child_enums().len();
    if message.parent_message().is_some() || inner > 0 || message.oneofs().any(|oneof| !oneof.is_synthetic()) {
        return Err(format!("{}: debug_redact is for flat messages of a file", message.full_name()).into());
    }
    let path: Vec<String> = message.parent_file().package_name().split('.').map(|name| format!("r#{name}")).collect();
    let (path, name) = (path.join("::"), message.name());
    let mut code = format!("impl ::core::fmt::Debug for crate::tree::{path}::{name} {{\n");
    code += "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {\n";
    write!(code, "        f.debug_struct({name:?})")?;
    for field in message.fields() {
        let name = field.name();
        let value = if is_secret(&field) {
            "&::core::format_args!(\"redacted\")".to_owned()
        } else {
            format!("&self.r#{name}")
        };
        write!(code, ".field({name:?}, {value})")?;
    }
    code += ".finish()\n    }\n}\n";
    Ok(code)
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
