//! `man`: the manual, made from the same table as the flags and the help.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};

use crate::command_line::command;
use crate::failure::{Done, Failure};
use crate::output::{print, print_line};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kvorumctl man | man -l -\n  kvorumctl man --dir /usr/local/share/man/man1"
)]
pub(crate) struct Man {
    /// Writes a page for every verb into this folder, instead of the first one to stdout.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, session: &Session) -> Done {
        let mut table = command(session.name);
        table.build();
        let Some(folder) = self.dir else { return print(&page(&table, session.name)?) };
        let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut pages = Vec::new();
        collect(&table, session.name, &mut pages)?;
        for (name, page) in &pages {
            fs::write(folder.join(format!("{name}.1")), page).map_err(failed)?;
        }
        print_line(&format!("{} pages written to {}", pages.len(), folder.display()))
    }
}

/// The page of a verb and those of the verbs below it.
fn collect(verb: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Done {
    pages.push((name.to_owned(), page(verb, name)?));
    for inner in verb.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
        collect(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}

fn page(verb: &Command, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let named = verb.clone().display_name(name.to_owned());
    let page = clap_mangen::Man::new(named).title(name.to_uppercase());
    page.render(&mut bytes).map_err(|error| Failure::io(error.to_string()))?;
    Ok(bytes)
}
