//! `completion`: what makes a shell complete the verbs and flags.

use clap::Args;
use clap_complete::Shell;

use crate::command_line::command;
use crate::failure::Done;
use crate::output::print;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(kvorumctl completion bash)")]
pub(crate) struct Completion {
    /// Which shell.
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, session: &Session) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(session.name), session.name, &mut script);
        print(&script)
    }
}
