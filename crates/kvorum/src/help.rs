//! What the program says of itself.

use std::fmt::Write as _;

use crate::flags::{Effect, FLAGS, Section};

/// Ours.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Four lines, of which the first is the one that tools read.
pub fn version() -> String {
    let commit = option_env!("KVORUM_GIT_SHA").unwrap_or("unknown");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {}\nKvorum Version: {VERSION}\nGit SHA: {commit}\nOS/Arch: {}/{arch}\n",
        api::level::SERVER,
        std::env::consts::OS
    )
}

/// How to call it, in short.
pub fn usage() -> String {
    "Usage:\n\n  \
     kvorum [flags]\n    Run a member.\n\n  \
     kvorum --version\n    Say which version this is.\n\n  \
     kvorum -h | --help\n    Explain every flag.\n\n  \
     kvorum health [--endpoint http://127.0.0.1:2379] [--cacert FILE] [--cert FILE --key FILE]\n    Ask a member whether it serves: exit status 0 or 1, and a line that says why.\n\n\
     A flag may be given as an environment variable too: --data-dir is ETCD_DATA_DIR.\n\n"
        .to_owned()
}

/// Every flag, by section.
pub fn flags() -> String {
    let mut text = String::new();
    for (section, title) in [
        (Section::Member, "Member"),
        (Section::Clustering, "Clustering"),
        (Section::Security, "Security"),
        (Section::Logging, "Logging"),
        (Section::Unsafe, "Unsafe feature"),
    ] {
        let _ = writeln!(text, "\n{title}:");
        for flag in FLAGS.iter().filter(|flag| flag.section == section) {
            let _ = writeln!(text, "  --{} '{}'", flag.name, flag.default);
            for line in flag.help.lines() {
                let _ = writeln!(text, "    {line}");
            }
            if let Effect::Ignored(reason) = flag.effect {
                let _ = writeln!(text, "    No effect: {reason}.");
            }
        }
    }
    text
}
