//! `snapshot status`: whether a file is whole, and how much is in it. Asks nobody.

use std::path::Path;

use clap::Args;
use restore::{Digest, Sight, Source, digest};
use serde_json::{Map, Value};
use stdx::chain;

use super::work::watched;
use crate::failure::{Done, Failure};
use crate::go;
use crate::output::{Fields, Output, Shown, Table};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorumctl snapshot status backup.db -w table")]
pub(crate) struct Status {
    #[arg(value_name = "FILE")]
    args: Vec<String>,
}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let [name] = self.args.as_slice() else {
            return Err(Failure::arguments("snapshot status requires exactly one argument"));
        };
        let sight = Sight::default();
        let mut source =
            Source::open(Path::new(name), sight.clone()).map_err(|error| Failure::error(chain(&error)))?;
        let bytes = source.bytes();
        let place = tempfile::tempdir()
            .map_err(|error| Failure::io(format!("no room to look into the snapshot: {error}")))?;
        // It is read twice: whether it is whole, and then what is in it.
        let found = watched(bytes * 2, sight, move || {
            let found = digest(&mut source, place.path());
            drop(place);
            found
        });
        let digest = found.await?.map_err(|error| Failure::error(chain(&error)))?;
        session.show(&Found(digest))
    }
}

/// The answer in etcdutl's words.
struct Found(Digest);

impl Found {
    fn cells(&self) -> Vec<String> {
        let Digest { hash, revision, rows, bytes, .. } = &self.0;
        vec![format!("{hash:x}"), revision.to_string(), rows.to_string(), go::size(*bytes)]
    }
}

impl Shown for Found {
    fn simple(&self, _output: Output) -> Vec<u8> {
        (self.cells().join(", ") + "\n").into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let Digest { hash, revision, rows, bytes, .. } = self.0;
        let numbers =
            [("hash", u64::from(hash)), ("revision", revision.0), ("totalKey", rows), ("totalSize", bytes)];
        Value::Object(
            numbers.map(|(name, number)| (name.to_owned(), number.into())).into_iter().collect::<Map<_, _>>(),
        )
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("Hash", self.0.hash);
        fields.value("Revision", self.0.revision.0);
        fields.value("Keys", self.0.rows);
        fields.value("Size", self.0.bytes);
        fields
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&["Hash", "Revision", "Total Keys", "Total Size"]);
        table.row(self.cells());
        Some(table)
    }
}
