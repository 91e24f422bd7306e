//! How answers look: the forms of etcdctl, and two more.
//!
//! This is the only place that writes to stdout.

mod fields;
mod json;
mod table;

use std::io::{self, Write as _};

use serde_json::Value;

pub(crate) use fields::Fields;
pub(crate) use json::{base64, line as json_line, message};
pub(crate) use table::Table;

use crate::failure::{Done, Failure, exit};

/// A form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Simple,
    Fields,
    Json,
    JsonLines,
    Yaml,
    Protobuf,
    Table,
}

/// How to write keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) form: Form,
    pub(crate) hex: bool,
}

/// An answer that can be shown.
pub(crate) trait Shown {
    /// The short form, with its line ends.
    fn simple(&self, output: Output) -> Vec<u8>;

    /// Go's JSON of it.
    fn json(&self, output: Output) -> Value;

    /// A name and a value on each line.
    fn fields(&self, output: Output) -> Fields;

    /// What came over the wire, if that is ever shown.
    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }

    /// As a box, if that is ever shown.
    fn table(&self, _output: Output) -> Option<Table> {
        None
    }

    /// One value for each line of JSON.
    fn lines(&self, output: Output) -> Vec<Value> {
        vec![self.json(output)]
    }
}

impl Output {
    /// The form with this name.
    pub(crate) fn new(form: &str, hex: bool) -> Result<Self, Failure> {
        let form = match form {
            "simple" => Form::Simple,
            "fields" => Form::Fields,
            "json" => Form::Json,
            "jsonl" => Form::JsonLines,
            "yaml" => Form::Yaml,
            "protobuf" => Form::Protobuf,
            "table" => Form::Table,
            _ => return Err(Failure::new(exit::BAD_FEATURE, "unsupported output format")),
        };
        Ok(Self { form, hex })
    }

    /// Writes the answer to stdout.
    pub(crate) fn show(self, shown: &dyn Shown) -> Done {
        let unsupported =
            |form: &str| Failure::new(exit::BAD_FEATURE, format!("{form} not supported as output format"));
        let text = match self.form {
            Form::Simple => shown.simple(self),
            Form::Fields => shown.fields(self).into_text().into_bytes(),
            Form::Json => json::line(&shown.json(self)).into_bytes(),
            Form::JsonLines => shown.lines(self).iter().map(json::line).collect::<String>().into_bytes(),
            Form::Yaml => serde_norway::to_string(&shown.json(self))
                .map_err(|error| Failure::io(error.to_string()))?
                .into_bytes(),
            Form::Protobuf => shown.protobuf().ok_or_else(|| unsupported("protobuf"))?,
            Form::Table => shown.table(self).ok_or_else(|| unsupported("table"))?.into_text().into_bytes(),
        };
        print(&text)
    }

    /// A key or a value as it is shown.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Vec<u8> {
        if self.hex {
            bytes.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect()
        } else {
            bytes.to_vec()
        }
    }
}

/// Writes to stdout. A reader that went away ends the program as it would have ended etcdctl.
pub(crate) fn print(bytes: &[u8]) -> Done {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::silent(141)
        } else {
            Failure::io(format!("stdout: {error}"))
        }
    })
}

/// Writes a line to stdout.
pub(crate) fn print_line(line: &str) -> Done {
    print(format!("{line}\n").as_bytes())
}

/// Writes a line to stderr, where words go.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told when stderr is gone.
    let _gone = writeln!(io::stderr(), "{line}");
}

/// Writes words to stderr that stand before what is typed.
pub(crate) fn say_without_end(words: &str) {
    // Nobody is left to be told when stderr is gone.
    let _gone = write!(io::stderr(), "{words}");
}
