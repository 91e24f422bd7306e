//! What clients asked, and what they were told: the recorded history.
//!
//! Begin and end of an operation have numbers of one sequence, so that of two moments one is always the earlier.

use bytes::Bytes;
use command::{Command, Outcome};
use types::{KeyRange, KeyValue, Revision};

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A write, through the log.
    Write {
        /// Its bytes in the log: no two writes have the same.
        data: Bytes,
    },
    /// A linearizable read.
    Linear(KeyRange),
    /// A serializable read.
    Serial(KeyRange),
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The write was done.
    Done(Box<Outcome>),
    /// What a read found, with the v2 index beside it.
    Read {
        /// The revision that was read.
        revision: Revision,
        /// The pairs.
        pairs: Vec<KeyValue>,
        /// Where the v2 keyspace stood.
        v2_index: u64,
    },
    /// It certainly did not happen.
    Refused,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Where it was sent.
    pub(crate) place: usize,
    /// That member's life.
    pub(crate) life: u64,
    /// What was wanted.
    pub(crate) ask: Ask,
    /// When it was sent.
    pub(crate) began: u64,
    /// When the answer came; never, if the client gave up before: then it may have happened or not.
    pub(crate) ended: Option<u64>,
    /// The answer.
    pub(crate) answer: Option<Answer>,
}

/// All operations of a run, by number.
#[derive(Default)]
pub(crate) struct History {
    /// The operations.
    pub(crate) operations: Vec<Operation>,
    /// Whose client waits no more.
    given_up: Vec<bool>,
    moments: u64,
}

impl History {
    /// The number that the next operation gets.
    pub(crate) fn next(&self) -> u64 {
        self.operations.len() as u64
    }

    /// An operation begins.
    pub(crate) fn begin(&mut self, place: usize, life: u64, ask: Ask) -> u64 {
        let (number, began) = (self.next(), self.moment());
        self.operations.push(Operation { place, life, ask, began, ended: None, answer: None });
        self.given_up.push(false);
        number
    }

    /// An operation is answered; says whether somebody still waits for it.
    pub(crate) fn end(&mut self, number: u64, answer: Answer) -> bool {
        let moment = self.moment();
        let at = number as usize;
        let operation = &mut self.operations[at];
        let waits = !self.given_up[at] && operation.answer.is_none();
        if waits {
            operation.ended = Some(moment);
        }
        // That something did not happen must hold whoever hears it.
        if waits || (operation.answer.is_none() && matches!(answer, Answer::Refused)) {
            operation.answer = Some(answer);
        }
        waits
    }

    /// The client waits no longer; says whether it still did.
    pub(crate) fn give_up(&mut self, number: u64) -> bool {
        let at = number as usize;
        let waits = !self.given_up[at] && self.operations[at].answer.is_none();
        self.given_up[at] = true;
        waits
    }

    /// Whether it was answered.
    pub(crate) fn is_answered(&self, number: u64) -> bool {
        self.operations[number as usize].answer.is_some()
    }

    /// The command of a write.
    pub(crate) fn data(&self, number: u64) -> Option<&Bytes> {
        match &self.operations.get(number as usize)?.ask {
            Ask::Write { data } => Some(data),
            Ask::Linear(_) | Ask::Serial(_) => None,
        }
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}

impl Ask {
    /// A write of `command`.
    pub(crate) fn write(command: &Command) -> Self {
        Self::Write { data: command.encode() }
    }
}
