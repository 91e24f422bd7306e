//! Why an answer did not come.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tonic::{Code, Status};

/// What one endpoint did instead of answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one, as it was written.
    pub place: String,
    /// What happened, for people.
    pub reason: String,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// A member said no; its own text.
    #[error("{}", .0.message())]
    Refused(Status),
    /// The time was over. Each endpoint that failed until then says why.
    #[error("context deadline exceeded")]
    Deadline {
        /// The last failure of each endpoint.
        failures: Vec<Failure>,
        /// Whether a command may have been carried out.
        may_have_happened: bool,
    },
    /// The connection broke under a command, which may have been carried out.
    #[error("the connection broke before the answer came; the request may have been carried out")]
    Broken {
        /// Where.
        failure: Failure,
    },
    /// A stream of answers ended before its end.
    #[error("the connection broke before the last answer came")]
    Cut {
        /// Where.
        failure: Failure,
    },
    /// The credentials were not accepted.
    #[error("{0}")]
    Credentials(Box<Fault>),
}

impl Fault {
    /// The code of a member's refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(status) => Some(status.code()),
            Self::Credentials(fault) => fault.code(),
            Self::Deadline { .. } | Self::Broken { .. } | Self::Cut { .. } => None,
        }
    }

    /// What went wrong at which endpoint.
    pub fn failures(&self) -> &[Failure] {
        match self {
            Self::Deadline { failures, .. } => failures,
            Self::Broken { failure } | Self::Cut { failure } => std::slice::from_ref(failure),
            Self::Credentials(fault) => fault.failures(),
            Self::Refused(_) => &[],
        }
    }
}

/// What one attempt at one endpoint came to.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing was sent.
    NotSent(String),
    /// Something was sent, and no answer came.
    Broken(String),
    /// The member answered that it will not.
    Refused(Status),
    /// It does not believe who speaks.
    Credentials(Status),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let Some(source) = status.source() else { return Self::Refused(status) };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source);
        while let Some(error) = cause {
            if let Some(lost) = error.downcast_ref::<Lost>() {
                return if lost.sent {
                    Self::Broken(lost.to_string())
                } else {
                    Self::NotSent(lost.to_string())
                };
            }
            cause = error.source();
        }
        match status.code() {
            // Made on this side: a message above a limit, for one.
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument => Self::Refused(status),
            _ => Self::Broken(innermost(source)),
        }
    }
}

/// A request that got no answer.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) sent: bool,
    pub(crate) cause: Arc<hyper::Error>,
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&innermost(self.cause.as_ref()))
    }
}

impl Error for Lost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

/// The text of the first cause, which is the one that tells most.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
