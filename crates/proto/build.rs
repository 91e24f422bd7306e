//! Compiles our .proto text to Rust: messages and services by `tonic-prost-build`, and the descriptors
//! from which the JSON form is derived. It needs no `protoc`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

/// The files of the interface; what they import lies beside them.
const FILES: &[&str] = &[
    "mvccpb.proto",
    "authpb.proto",
    "header.proto",
    "kv.proto",
    "watch.proto",
    "lease.proto",
    "cluster.proto",
    "maintenance.proto",
    "auth.proto",
    "v3lockpb.proto",
    "v3electionpb.proto",
    "health.proto",
    "reflection.proto",
    "reflection_old.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    #[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
    {
        println!("cargo::rerun-if-changed=proto");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    fs::write(out.join("methods.rs"), methods(&descriptors)?)?;
    // Bytes fields are shared with the buffer that came from the socket, not copied out of it.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}

/// The methods of all services as a list in Rust, so that who only wants their names need not read the descriptors.
fn methods(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut list = "&[\n".to_owned();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                writeln!(
                    list,
                    "Method {{ service: \"{}.{}\", name: \"{}\", streams_in: {}, streams_out: {} }},",
                    file.package(),
                    service.name(),
                    method.name(),
                    method.client_streaming(),
                    method.server_streaming(),
                )?;
            }
        }
    }
    Ok(list + "]")
}
