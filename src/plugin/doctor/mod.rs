//! `doctor`: what can be seen of the installation from the API server, with the rights of whoever looks. What cannot be seen is said to be so.

mod admission;
mod cluster;
mod objects;
mod operator;

use serde::Serialize;

use super::cli::{Common, DoctorArgs};
use super::exit::{Exit, Outcome};
use super::out::{Mood, Out, clean};
use super::talk::{Refusal, Session};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Mark {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Not to be seen from here.
    Unseen,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    mark: Mark,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remedies: Vec<String>,
}

impl Finding {
    fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self { mark, text: text.into(), remedies: Vec::new() }
    }

    fn good(text: impl Into<String>) -> Self {
        Self::new(Mark::Good, text)
    }

    fn bad(text: impl Into<String>) -> Self {
        Self::new(Mark::Bad, text)
    }

    fn unseen(text: impl Into<String>) -> Self {
        Self::new(Mark::Unseen, text)
    }

    /// What could not be read: by lack of a right nothing is known, otherwise something is wrong.
    fn unread(what: &str, refusal: &Refusal) -> Self {
        let text = format!("{what}: {}", refusal.words());
        if refusal.is_forbidden() { Self::unseen(text) } else { Self::bad(text) }
    }

    #[must_use]
    fn remedy(mut self, what: impl Into<String>) -> Self {
        self.remedies.push(what.into());
        self
    }
}

/// Looks at everything.
///
/// # Errors
/// If it cannot be printed.
pub async fn doctor(session: &Session, out: &Out, args: &DoctorArgs, common: &Common, now: jiff::Timestamp) -> Outcome {
    let mut found = cluster::look(session).await;
    // Nothing of the rest can be asked of an API server that is not there.
    if found.iter().any(|f| f.mark == Mark::Bad && f.text.starts_with(cluster::AWAY)) {
        return tell(out, &found);
    }
    found.extend(admission::look(session).await);
    found.extend(operator::look(session, args, now).await);
    found.extend(objects::look(session, common.namespace.as_deref(), now).await);
    found.push(
        Finding::unseen("AWS itself: OIDC provider, permissions boundary and rights of the operator's role. It looks at them itself, and its findings are in the conditions of SecureBuckets")
            .remedy("kubectl logs -n NAMESPACE deployment/securebucket"),
    );
    tell(out, &found)
}

fn tell(out: &Out, found: &[Finding]) -> Outcome {
    let wrong = found.iter().filter(|f| f.mark == Mark::Bad).count();
    if !out.value(&found)? {
        for finding in found {
            let (mark, mood) = match finding.mark {
                Mark::Good => ("✔", Mood::Good),
                Mark::Bad => ("✘", Mood::Bad),
                Mark::Unseen => ("–", Mood::Unsure),
            };
            out.line(&format!("{} {}", out.paint(mood, mark), clean(&finding.text)));
            for remedy in &finding.remedies {
                out.line(&format!("  → {}", clean(remedy)));
            }
        }
        if wrong > 0 {
            out.note(&format!("{wrong} of {} are not as they should be", found.len()));
        }
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::No })
}
