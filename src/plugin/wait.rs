//! Waiting for what becomes of an object, with progress on stderr.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::exit::{Exit, Failure, Outcome};
use super::out::Out;
use super::talk::Refusal;

/// Time between two looks: short at the beginning, then longer, so that a long wait does not weigh on the API server.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(3);

/// How long is looked, without `--wait`, for what an operator does at once: enough for one that is busy.
pub const MOMENT: Duration = Duration::from_secs(10);

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// It is so.
    There(T),
    /// Not yet; in words, what it waits for.
    NotYet(String),
    /// It will not be so.
    Never(Failure),
}

/// A look that failed: of something that may be answered soon, not the end of the wait.
///
/// # Errors
/// If it will not be answered.
pub fn unanswered<T>(refusal: &Refusal, deed: &str) -> Outcome<Look<T>> {
    if refusal.is_passing() { Ok(Look::NotYet("the API server to answer".into())) } else { Err(refusal.to(deed)) }
}

/// Looks until it is so, or will not be, or the time is over, or somebody presses Ctrl-C. `afterwards` is the command that looks again later.
///
/// # Errors
/// In all cases but the first, and if a look fails.
pub async fn until<T, F>(out: &Out, most: Duration, afterwards: &str, mut look: impl FnMut() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<Look<T>>>,
{
    let mut last = String::new();
    let seen = async {
        let mut pause = FIRST;
        loop {
            match look().await? {
                Look::There(found) => return Ok(found),
                Look::Never(failure) => return Err(failure),
                Look::NotYet(words) if words != last => {
                    out.note(&format!("waiting: {words}"));
                    last = words;
                }
                Look::NotYet(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST);
        }
    };
    let stays = |exit, message: String| {
        Failure::new(exit, format!("{message}; what was asked for stays as it is and goes on")).next(afterwards)
    };
    tokio::select! {
        end = seen => end,
        () = tokio::time::sleep(most) => Err(stays(Exit::TimedOut, format!("not within {} s", most.as_secs()))),
        _ = tokio::signal::ctrl_c() => Err(stays(Exit::Interrupted, "interrupted".into())),
    }
}

/// Looks for a moment, and gives up silently.
pub async fn briefly<T, F>(most: Duration, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + most;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(FIRST).await;
    }
}
