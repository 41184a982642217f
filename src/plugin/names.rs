//! Names as people type them.

use std::convert::Infallible;
use std::str::FromStr;

/// Kinds of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `DecryptGrant`.
    Grant,
    /// `SecureBucket`.
    Bucket,
    /// `GrantReview`.
    Review,
}

impl Kind {
    /// As kubectl prints it before a name.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Grant => "decryptgrant.securebucket.io",
            Self::Bucket => "securebucket.securebucket.io",
            Self::Review => "grantreview.securebucket.io",
        }
    }

    /// The kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Grant => "DecryptGrant",
            Self::Bucket => "SecureBucket",
            Self::Review => "GrantReview",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        match word.split('.').next().unwrap_or_default() {
            "decryptgrant" | "decryptgrants" | "dgrant" => Some(Self::Grant),
            "securebucket" | "securebuckets" | "sbkt" => Some(Self::Bucket),
            "grantreview" | "grantreviews" | "greview" => Some(Self::Review),
            _ => None,
        }
    }
}

/// `call-logs`, or `sbkt/call-logs` as `-o name` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The kind, if it is said.
    pub kind: Option<Kind>,
    /// The name.
    pub name: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = match text.split_once('/') {
            None => Self { kind: None, name: text.to_owned() },
            Some((word, name)) => {
                let kind = Kind::of(word).ok_or_else(|| {
                    format!("{word:?} is no kind of SecureBucket; a namespace is given with -n {word}")
                })?;
                Self { kind: Some(kind), name: name.to_owned() }
            }
        };
        if named.name.is_empty() { Err("the name is empty".into()) } else { Ok(named) }
    }
}

/// `reports`, or `analytics/reports`: something with a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The namespace, if it is said.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl Account {
    /// The namespace, or this one.
    pub fn namespace_or<'a>(&'a self, other: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(other)
    }
}

impl FromStr for Account {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('/') {
            None => Self { namespace: None, name: text.to_owned() },
            Some((namespace, name)) => Self { namespace: Some(namespace.to_owned()), name: name.to_owned() },
        })
    }
}

/// Name of a review: the grant's, the reviewer's, and what he decides unless he agrees. At most 63 characters of `a-z0-9-`.
pub fn review(grant: &str, who: &str, decision: &str) -> String {
    let person = label(who.rsplit(['/', ':']).next().unwrap_or(who));
    let mut name = format!("{grant}-{person}");
    if decision != "Approve" {
        name.push_str(&format!("-{}", decision.to_lowercase()));
    }
    if name.len() <= 63 && !person.is_empty() {
        return name;
    }
    let tail = crate::domain::identity::hex(&[grant, who, decision], 8);
    format!("{}-{tail}", cut(&name, 54))
}

/// The same for another attempt, when the name is taken.
pub fn another(name: &str, random: &str) -> String {
    format!("{}-{}", cut(name, 63 - 7), random.chars().take(6).collect::<String>())
}

/// Beginning of a generated name: the API server adds five characters.
pub fn generated(service_account: &str) -> String {
    format!("{}-", cut(service_account, 57))
}

fn cut(name: &str, most: usize) -> &str {
    name.get(..most.min(name.len())).unwrap_or(name).trim_end_matches(['-', '.'])
}

fn label(text: &str) -> String {
    let plain =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>();
    plain.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_before_names() {
        let named = |text: &str| text.parse::<Named>();
        assert_eq!(named("g").unwrap(), Named { kind: None, name: "g".into() });
        assert_eq!(named("sbkt/x").unwrap().kind, Some(Kind::Bucket));
        assert_eq!(named("decryptgrant.securebucket.io/x").unwrap().kind, Some(Kind::Grant));
        assert!(named("telephony/x").unwrap_err().contains("-n telephony"));
        assert!(named("sbkt/").is_err());
    }

    #[test]
    fn reviews_are_named_after_grant_and_person() {
        assert_eq!(review("reports-7k2mq", "bob", "Approve"), "reports-7k2mq-bob");
        assert_eq!(review("g", "Bob@Example.com", "Deny"), "g-bob-example-com-deny");
        assert_eq!(review("g", "arn:aws:sts::1:assumed-role/dev/bob", "Revoke"), "g-bob-revoke");
        assert_ne!(review("g", "ü", "Approve"), review("g", "ö", "Approve"));
        for name in
            [review(&"g".repeat(63), "bob", "Deny"), another(&"n".repeat(63), "0123456789"), review("g", "!", "Deny")]
        {
            assert!(name.len() <= 63 && !name.ends_with('-'), "{name}");
        }
        assert_eq!(generated("reports"), "reports-");
        assert!(generated(&"s".repeat(200)).len() + 5 <= 63);
    }
}
