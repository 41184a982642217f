//! How the plugin ends: a code for scripts, and for people what went wrong and what to type next.

use std::process::ExitCode;

/// Exit codes, as `--help` and the page document them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done; or: yes.
    Done,
    /// Refused, not found, or not reachable.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The answer is no.
    No,
    /// It ended otherwise than was asked for.
    Ended,
    /// It did not come about in time.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::No => 3,
            Self::Ended => 4,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ends without having done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is wrong.
    pub message: String,
    /// What to type or do next, in the order of likelihood.
    pub next: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: Vec::new() }
    }

    /// Refused, not found, or not reachable.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// With one more thing to do next.
    #[must_use]
    pub fn next(mut self, what: impl Into<String>) -> Self {
        self.next.push(what.into());
        self
    }
}

/// What commands return.
pub type Outcome<T = Exit> = Result<T, Failure>;
