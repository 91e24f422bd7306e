//! `defrag`: gives room back to the disk, one member after the other.

use std::sync::Mutex;

use clap::Args;
use client::Endpoint;
use proto::etcdserverpb::DefragmentRequest;

use super::endpoint::endpoints;
use super::signal::unless_stopped;
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(
    after_help = "A member that is defragmented answers nobody until it is done.\n\nExamples:\n  kvorumctl defrag\n  \
                  kvorumctl defrag --cluster --command-timeout=60s"
)]
pub(crate) struct Defrag {
    #[arg(hide = true)]
    args: Vec<String>,
    /// Every member of the cluster, not only those of --endpoints.
    #[arg(long)]
    cluster: bool,
}

/// How far it is.
#[derive(Debug, Default)]
struct State {
    done: Vec<String>,
    /// Who was asked and has not answered.
    asked: Option<String>,
    rest: Vec<String>,
}

impl Defrag {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let all = endpoints(session, self.cluster).await?;
        let state =
            Mutex::new(State { rest: all.iter().map(ToString::to_string).collect(), ..State::default() });
        let told = || state.lock().expect("nobody panics while he holds it").told();
        unless_stopped(defrag(session, &all, &state), told).await
    }
}

async fn defrag(session: &Session, all: &[Endpoint], state: &Mutex<State>) -> Done {
    let held = || state.lock().expect("nobody panics while he holds it");
    let mut failures = 0;
    for endpoint in all {
        held().asks();
        let client = session.client.only(endpoint);
        match client.call(DefragmentRequest {}, session.patience()).await {
            Ok(_) => {
                held().done.push(endpoint.to_string());
                print_line(&format!("Finished defragmenting etcd member[{endpoint}]"))?;
            }
            Err(fault) => {
                say(&format!("Failed to defragment etcd member[{endpoint}] ({fault})"));
                failures += 1;
            }
        }
        held().asked = None;
    }
    if failures == 0 { Ok(()) } else { Err(Failure::silent(exit::ERROR)) }
}

impl State {
    /// The next one is asked.
    fn asks(&mut self) {
        self.asked = (!self.rest.is_empty()).then(|| self.rest.remove(0));
    }

    fn told(&self) -> String {
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let asked = self
            .asked
            .as_ref()
            .map(|name| format!("; {name} was asked and may go on with it"))
            .unwrap_or_default();
        format!("defrag stopped: finished: {}{asked}; not asked: {}", list(&self.done), list(&self.rest))
    }
}
