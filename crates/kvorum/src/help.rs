//! What the program says of itself.

use std::fmt::Write as _;

use crate::flags::{Effect, Flag, Section};

/// Ours.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Four lines, of which the first is the one that tools read. Called by the name of etcd, they are etcd's.
pub fn version(name: &str) -> String {
    let commit = option_env!("KVORUM_GIT_SHA").unwrap_or("unknown");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let (server, system) = (api::level::SERVER, std::env::consts::OS);
    if name == "etcd" {
        return format!(
            "etcd Version: {server}\nGit SHA: {commit}\nGo Version: none (Kvorum {VERSION})\nGo OS/Arch: {system}/{arch}\n"
        );
    }
    format!(
        "etcd Version: {server}\nKvorum Version: {VERSION}\nGit SHA: {commit}\nOS/Arch: {system}/{arch}\n"
    )
}

/// How to call it, in short.
pub fn usage() -> String {
    "Usage:\n\n  \
     kvorum [flags]\n    Run a member.\n\n  \
     kvorum --version\n    Say which version this is.\n\n  \
     kvorum -h | --help\n    Explain every flag.\n\n  \
     kvorum health [--endpoint http://127.0.0.1:2379] [--cacert FILE] [--cert FILE --key FILE]\n    Ask a member whether it serves: exit status 0 or 1, and a line that says why.\n\n  \
     kvorum config show [--origin] [flags]\n    Show every setting, and where it comes from.\n\n  \
     kvorum man\n    The manual page. `kvorum completion`: the flags for bash.\n\n  \
     kvorum config check [flags]\n    Say whether a member would start with these.\n\n\
     A flag may be given as an environment variable too: --data-dir is ETCD_DATA_DIR. Or by its name in the file of\n\
     --config-file. A flag counts before a variable, and that before the file. Sizes may have units (8GiB), times too (1d).\n\n"
        .to_owned()
}

/// Every flag, by section.
pub fn flags() -> String {
    let mut text = String::new();
    for (section, title) in Section::ALL {
        let _ = writeln!(text, "\n{title}:");
        for flag in Flag::all().filter(|flag| flag.section == section) {
            let _ = writeln!(text, "  --{} '{}'", flag.name, flag.default);
            for line in flag.help.lines() {
                let _ = writeln!(text, "    {line}");
            }
            let _ = match flag.effect {
                Effect::Honoured => Ok(()),
                Effect::Ignored(reason) => writeln!(text, "    No effect: {reason}."),
                Effect::Refused(reason) => writeln!(text, "    A start with it is refused: {reason}."),
                Effect::Older(newer) => writeln!(text, "    The older name of --{newer}."),
            };
        }
    }
    text
}

/// The manual page, in roff.
pub fn manual() -> String {
    // A dash is a dash, and a line may begin with a dot.
    let escaped = |text: &str| {
        let text = text.replace('\\', "\\e").replace('-', "\\-");
        let lines = text
            .lines()
            .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut page = format!(
        ".TH KVORUM 8 \"\" \"kvorum {VERSION}\"\n.SH NAME\nkvorum \\- a distributed key\\-value store that answers as etcd does\n\
         .SH SYNOPSIS\n.nf\n{}\n.fi\n",
        escaped(usage().trim_start_matches("Usage:\n\n").trim_end())
    );
    for (section, title) in Section::ALL {
        let _ = writeln!(page, ".SH {}", escaped(&title.to_uppercase()));
        for flag in Flag::all().filter(|flag| flag.section == section) {
            let text = match flag.effect {
                Effect::Honoured => flag.help.to_owned(),
                Effect::Ignored(reason) => format!("No effect: {reason}."),
                Effect::Refused(reason) => format!("A start with it is refused: {reason}."),
                Effect::Older(newer) => format!("The older name of --{newer}."),
            };
            let default =
                if flag.default.is_empty() { String::new() } else { format!(" ({})", flag.default) };
            let head = escaped(&format!("--{}{default}", flag.name));
            let _ = writeln!(page, ".TP\n.B {head}\n{}", escaped(&text));
        }
    }
    let files = "/etc/kvorum/kvorum.conf\nVariables for kvorum.service.";
    let _ = writeln!(page, ".SH FILES\n{}\n.SH SEE ALSO\nkvorumctl(1)", escaped(files));
    page
}

/// The flags for bash.
pub fn completion() -> String {
    let flags: Vec<String> = Flag::all().map(|flag| format!("--{}", flag.name)).collect();
    format!("complete -o default -W 'health config {} --version --help' kvorum\n", flags.join(" "))
}
