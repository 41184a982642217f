//! Whether the API server holds people to who they are. Pure.
//!
//! `requester` and `reviewer` are worth something only if the admission policies refused every false name at the moment when the object was
//! created. So what is older than their proof does not count.

use jiff::Timestamp;

/// What is known of the admission policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// Since when the policies and their bindings, as this version knows them, are proven in force: the newest `creationTimestamp` among them,
    /// once a false name has been refused. `None`: not proven.
    pub since: Option<Timestamp>,
    /// What is wrong, in words for people, with the way out.
    pub problem: Option<String>,
}

impl Enforcement {
    /// Nothing is proven yet.
    pub fn unproven() -> Self {
        let problem = "the admission policies are not proven to be in force yet; this takes a moment after the start";
        Self { since: None, problem: Some(problem.into()) }
    }

    /// Another mechanism holds people to who they are (`--admission=Off`): everything counts.
    pub fn elsewhere() -> Self {
        Self { since: Some(Timestamp::UNIX_EPOCH), problem: None }
    }

    /// In force since this moment.
    pub fn since(at: Timestamp) -> Self {
        Self { since: Some(at), problem: None }
    }

    /// True if it is proven that the API server asks for the verbs that our policies ask for. Another mechanism may know nothing of them.
    pub fn asks_for_verbs(&self) -> bool {
        self.problem.is_none() && self.since.is_some_and(|since| since > Timestamp::UNIX_EPOCH)
    }

    /// True if what was created at this moment was held to the policies. `creationTimestamp` has whole seconds, and within one second nobody knows
    /// which came first: it must be a later one.
    pub fn covers(&self, created: Timestamp) -> bool {
        self.problem.is_none() && self.since.is_some_and(|since| created > since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_what_is_newer_than_the_proof_counts() {
        let proven = Enforcement::since(at(100));
        assert!(proven.covers(at(101)));
        assert!(!proven.covers(at(100)) && !proven.covers(at(99)));
        assert!(!Enforcement::unproven().covers(at(1_000)));
        let altered = Enforcement { problem: Some("a binding is missing".into()), ..proven };
        assert!(!altered.covers(at(101)));
        assert!(Enforcement::elsewhere().covers(at(1)));
        assert!(Enforcement::since(at(100)).asks_for_verbs());
        assert!(!Enforcement::elsewhere().asks_for_verbs() && !Enforcement::unproven().asks_for_verbs());
    }
}
