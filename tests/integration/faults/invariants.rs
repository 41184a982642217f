//! What must hold at every moment of a run, read from the journal of writes. Numbers are those of the reliability notes in docs:
//! S1 no reading past the end, S2 nothing is issued late or prolonged, S3 no wider than asked for, S4 one key, S5/S6 nothing is destroyed,
//! S9 no leak, S10 the finalizer comes first and goes last.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use securebucket::api::{BUCKET_FINALIZER, GRANT_FINALIZER};
use serde_json::Value;

use super::history::{History, carries, date, reads, statements, texts, with_effect};
use super::journal::Entry;
use super::mask::Mask;
use super::scenario::Scenario;

/// Operations that a run may make at all. None of them destroys data, and none mends what nobody broke.
const EXPECTED: [&str; 19] = [
    "CreateKey",
    "CreateAlias",
    "TagResource",
    "EnableKeyRotation",
    "PutKeyPolicy",
    "CreateBucket",
    "PutPublicAccessBlock",
    "PutBucketOwnershipControls",
    "PutBucketPolicy",
    "PutBucketEncryption",
    "PutBucketVersioning",
    "PutBucketLifecycleConfiguration",
    "PutBucketTagging",
    "CreateRole",
    "PutRolePolicy",
    "DeleteRolePolicy",
    "DeleteRole",
    "CreateGrant",
    "RevokeGrant",
];

/// Those that only a lockdown and its lifting make.
const OF_A_LOCKDOWN: [&str; 2] = ["DisableKey", "EnableKey"];

/// What a run is judged by.
#[derive(Clone, Debug)]
pub struct Law<'a> {
    /// Role of the ServiceAccount that asks to read.
    pub reader: String,
    /// Its ARN.
    pub reader_arn: String,
    /// What happens in the run.
    pub scenario: Scenario,
    /// ARN of the bucket.
    pub bucket_arn: String,
    /// The prefix that the grant covers.
    pub prefix: &'a str,
    /// Placeholders of this world.
    pub mask: &'a Mask,
    /// What runs without faults wrote; `None` in such a run itself.
    pub usual: Option<&'a Usual>,
}

/// What runs without faults write.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    /// Bucket and key policies, masked.
    pub policies: BTreeSet<String>,
    /// How often each operation has an effect, roles apart, at most.
    pub counts: BTreeMap<String, usize>,
}

impl Usual {
    /// What a run wrote.
    pub fn of(entries: &[Entry], mask: &Mask) -> Self {
        let history = History::new(entries);
        let policies = resource_policies(history).map(|(_, p)| comparable(p, mask)).collect();
        let mut counts = BTreeMap::new();
        for (_, operation, parameters) in history.aws() {
            *counts.entry(counted_as(operation, parameters, mask)).or_default() += 1;
        }
        Self { policies, counts }
    }

    /// Together with what another run wrote.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.policies.extend(other.policies.iter().cloned());
        for (operation, count) in &other.counts {
            let most = self.counts.entry(operation.clone()).or_default();
            *most = (*most).max(*count);
        }
        self
    }
}

/// What effects are counted by: the operation, with the role that it is done to.
fn counted_as(operation: &str, parameters: &Value, mask: &Mask) -> String {
    let role = parameters["RoleName"].as_str().map(|r| mask.text(r)).unwrap_or_default();
    format!("{operation} {role}").trim_end().to_owned()
}

/// The statements of a policy, masked, in an order that does not depend on the world.
fn comparable(policy: &Value, mask: &Mask) -> String {
    let mut all: Vec<String> = statements(policy).iter().map(|s| mask.value(s).to_string()).collect();
    all.sort();
    all.join("\n")
}

fn resource_policies(history: History<'_>) -> impl Iterator<Item = (&str, &Value)> {
    let carrying = |o: &str| ["CreateKey", "PutKeyPolicy", "PutBucketPolicy"].contains(&o);
    history.aws().filter(move |(_, o, _)| carrying(o)).map(|(_, o, p)| (o, &p["Policy"]))
}

impl Law<'_> {
    /// Everything in the journal that breaks the law.
    pub fn violations(&self, entries: &[Entry]) -> Vec<String> {
        let history = History::new(entries);
        let mut found = Vec::new();
        self.operations(history, &mut found);
        self.role_documents(history, &mut found);
        self.issuing(history, &mut found);
        self.times(history, &mut found);
        self.agreement(history, &mut found);
        self.removal(history, &mut found);
        self.finalizers(history, &mut found);
        self.resource_policies(history, &mut found);
        if let Some(usual) = self.usual {
            self.counts(usual, history, &mut found);
        }
        found
    }

    fn operations(&self, history: History<'_>, found: &mut Vec<String>) {
        // Also those that failed: it must not even try.
        for entry in history.entries() {
            if let super::journal::Write::Aws { operation, .. } = &entry.write
                && !EXPECTED.contains(&operation.as_str())
                && !(self.scenario == Scenario::Lockdown && OF_A_LOCKDOWN.contains(&operation.as_str()))
            {
                found.push(format!("S5/S6: {operation} was asked for"));
            }
        }
        let keys = history.of("CreateKey").count();
        if keys > 1 {
            found.push(format!("S4: {keys} keys were created"));
        }
    }

    /// S1, S3: whoever may read, may so by a grant, for what it names, until its end.
    fn role_documents(&self, history: History<'_>, found: &mut Vec<String>) {
        for (entry, parameters) in history.of("PutRolePolicy") {
            let role = parameters["RoleName"].as_str().unwrap_or_default();
            let document = &parameters["PolicyDocument"];
            let ends: Vec<Timestamp> = history.ends(entry.asked).into_values().collect();
            let last = ends.iter().max().copied();
            for statement in with_effect(document, "Allow") {
                if let Some(problem) = self.allow(role, statement, &ends) {
                    found.push(format!("S1/S3: {problem} in the policy of {role}: {statement}"));
                    continue;
                }
                let Some(end) = date(statement, "DateLessThan") else { continue };
                let denied = with_effect(document, "Deny").any(|s| {
                    date(s, "DateGreaterThanEquals").is_some_and(|d| d >= end && last.is_some_and(|l| d <= l))
                });
                if !denied {
                    found.push(format!("S1: no Deny ends what an Allow gives until {end} in the policy of {role}"));
                }
            }
        }
    }

    fn allow(&self, role: &str, statement: &Value, ends: &[Timestamp]) -> Option<String> {
        let actions = texts(statement, "Action");
        if !statement["NotAction"].is_null() || actions.is_empty() {
            return Some("an Allow without actions".into());
        }
        if role != self.reader
            || self.scenario.gives_a_duty() && !actions.iter().any(|a| reads(a) || *a == "s3:ListBucket")
        {
            return actions.iter().any(|a| reads(a)).then(|| "a role without a grant may read".into());
        }
        if actions.iter().any(|a| !["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"].contains(a)) {
            return Some("more than reading".into());
        }
        let objects = format!("{}/{}*", self.bucket_arn, self.prefix);
        if actions.iter().any(|a| reads(a)) && texts(statement, "Resource") != [objects.as_str()] {
            return Some("other objects than those asked for".into());
        }
        match date(statement, "DateLessThan") {
            None => Some("an Allow without an end".into()),
            Some(_) if ends.is_empty() => Some("an Allow before any expiresAt was in status".into()),
            Some(end) if !ends.contains(&end) => {
                Some(format!("an Allow until {end}, which is no expiresAt of {ends:?}"))
            }
            Some(_) => None,
        }
    }

    /// S2, S3: a KMS grant is issued within its window, on top of a dated document, for reading, once.
    fn issuing(&self, history: History<'_>, found: &mut Vec<String>) {
        for (entry, parameters) in history.of("CreateGrant") {
            let at = entry.asked;
            if parameters["Operations"] != serde_json::json!(["Decrypt", "DescribeKey"]) {
                found.push(format!("S3: a KMS grant for {}", parameters["Operations"]));
            }
            if parameters["GranteePrincipal"] != self.reader_arn.as_str() {
                found.push(format!("S3: a KMS grant for {}", parameters["GranteePrincipal"]));
            }
            for unwanted in ["RetiringPrincipal", "GrantTokens"] {
                if !parameters[unwanted].is_null() {
                    found.push(format!("S3: a KMS grant with {unwanted}"));
                }
            }
            let name = parameters["Name"].as_str().unwrap_or_default();
            let owner = history.grants(at).into_values().find(|g| g.name == Some(name));
            if owner.is_none() {
                found.push(format!("S3: a KMS grant by the name {name:?}, which no status had"));
            }
            let documents = history.documents(&self.reader, at);
            match owner.and_then(|g| g.end) {
                Some(end) if at >= end => found.push(format!("S2: a KMS grant is issued at {at}, after its end {end}")),
                Some(end) if !documents.iter().flatten().any(|d| carries(d, end)) => {
                    found.push(format!("S1: a KMS grant is issued while the role's policy is {documents:?}"));
                }
                Some(_) => {}
                None => found.push("S2: a KMS grant is issued before expiresAt was in status".into()),
            }
        }
    }

    /// S2: the window of a grant is written once.
    fn times(&self, history: History<'_>, found: &mut Vec<String>) {
        let mut known: BTreeMap<(String, &str), String> = BTreeMap::new();
        for grant in history.accepted("decryptgrants") {
            let Some(uid) = grant.text("/metadata/uid") else { continue };
            for field in ["/status/activatedAt", "/status/expiresAt", "/status/kmsGrant/name", "/status/kmsGrant/id"] {
                let value = grant.text(field).map(str::to_owned);
                let key = (uid.to_owned(), field);
                match (known.get(&key), value) {
                    (Some(before), now) if now.as_ref() != Some(before) => {
                        found.push(format!("S2: {field} went from {before} to {now:?}"));
                    }
                    (None, Some(now)) => {
                        known.insert(key, now);
                    }
                    _ => {}
                }
            }
        }
    }

    /// S3: where two persons must agree, nothing begins before the second of them does.
    fn agreement(&self, history: History<'_>, found: &mut Vec<String>) {
        if self.scenario != Scenario::Agreement {
            return;
        }
        let second = history.reviews("Approve").nth(1);
        for grant in history.accepted("decryptgrants").filter(|g| g.text("/status/expiresAt").is_some()) {
            if second.is_none_or(|at| grant.entry.asked < at) {
                found.push(format!("S3: a window opens at {} and two agreed at {second:?}", grant.entry.asked));
            }
        }
    }

    /// S9, S10: a removal is recorded when it is true, revoking comes after the Allow is out, and the Deny stays while a KMS grant lives.
    fn removal(&self, history: History<'_>, found: &mut Vec<String>) {
        for grant in history.accepted("decryptgrants").filter(|g| g.text("/status/removal/verifiedAt").is_some()) {
            let at = grant.entry.asked;
            let mut live = history.live_grants(at);
            live.retain(|_, name| grant.text("/status/kmsGrant/name") == Some(name));
            let documents = history.documents(&self.reader, at);
            let end = grant.instant("/status/expiresAt");
            let gives = |s: &Value| date(s, "DateLessThan").is_some_and(|d| Some(d) == end);
            let allows = documents.iter().all(|d| d.is_some_and(|d| with_effect(d, "Allow").any(gives)));
            if !live.is_empty() || allows {
                found
                    .push(format!("S10: removal recorded while KMS grants {live:?} live, Allow in the role: {allows}"));
            }
        }
        for (entry, parameters) in history.of("RevokeGrant") {
            let id = parameters["GrantId"].as_str().unwrap_or_default();
            let name = history.made_grants(entry.asked).get(id).copied().unwrap_or_default();
            let still = history.end_of(name, entry.asked).filter(|end| entry.asked < *end);
            let documents = history.documents(&self.reader, entry.asked);
            if still.is_some_and(|end| documents.iter().all(|d| d.is_some_and(|d| carries(d, end)))) {
                found.push("a KMS grant is revoked while the role's policy still lets its holder read".into());
            }
        }
        for (entry, operation, parameters) in history.aws().filter(|(_, _, p)| p["RoleName"] == self.reader.as_str()) {
            let ends = |s: &Value| date(s, "DateGreaterThanEquals").is_some();
            let kept = operation == "PutRolePolicy" && with_effect(&parameters["PolicyDocument"], "Deny").any(ends);
            let live = history.live_grants(entry.asked);
            if !kept && operation != "CreateRole" && !live.is_empty() {
                found.push(format!("S9: {operation} takes the Deny away while KMS grants {live:?} live"));
            }
        }
    }

    /// S10: nothing of an object is in AWS before its finalizer is in the API server, or is changed after it is gone.
    fn finalizers(&self, history: History<'_>, found: &mut Vec<String>) {
        let held = |kind, finalizer| history.accepted(kind).find(|o| o.holds(finalizer)).map(|o| o.entry.done);
        let bucket = held("securebuckets", BUCKET_FINALIZER);
        let grant = held("decryptgrants", GRANT_FINALIZER);
        let let_go = released(history, "securebuckets").map(|(_, at)| at).min();
        for (entry, operation, parameters) in history.aws() {
            let of_grant = ["CreateGrant", "RevokeGrant"].contains(&operation);
            let of_role = !parameters["RoleName"].is_null();
            if bucket.is_none_or(|at| entry.asked < at) {
                found.push(format!("S10: {operation} before the finalizer of the SecureBucket"));
            }
            if of_grant && grant.is_none_or(|at| entry.asked < at) {
                found.push(format!("S10: {operation} before the finalizer of the DecryptGrant"));
            }
            if !of_role && let_go.is_some_and(|at| entry.asked > at) {
                found.push(format!("S10: {operation} after the SecureBucket let go"));
            }
        }
        let grants = released(history, "decryptgrants").map(|(uid, at)| (Some(uid), at));
        let buckets = released(history, "securebuckets").map(|(_, at)| (None, at));
        for (uid, at) in grants.chain(buckets) {
            // Of the one that is released, or of all.
            let of = |known: &&str| uid.is_none_or(|uid| uid == *known);
            let grants: Vec<_> =
                history.grants(at).into_iter().filter(|(known, _)| of(known)).map(|(_, g)| g).collect();
            let mut live = history.live_grants(at);
            live.retain(|_, name| uid.is_none() || grants.iter().any(|g| g.name == Some(name)));
            let proved = grants.iter().all(|g| g.end.is_none() || g.proved.is_some());
            if !live.is_empty() || !proved {
                let what = uid.map_or("a SecureBucket".to_owned(), |uid| format!("DecryptGrant {uid}"));
                found
                    .push(format!("S10: the finalizer of {what} goes while KMS grants {live:?} live, proof: {proved}"));
            }
        }
    }

    /// S7, S8: policies of bucket and key are those of a run without faults, at every moment; and no bucket policy allows anything.
    fn resource_policies(&self, history: History<'_>, found: &mut Vec<String>) {
        for (operation, policy) in resource_policies(history) {
            if statements(policy).is_empty() {
                found.push(format!("S8: {operation} without a policy"));
            }
            if operation == "PutBucketPolicy" && with_effect(policy, "Allow").next().is_some() {
                found.push(format!("S8: a bucket policy that allows: {policy}"));
            }
            let Some(wanted) = self.usual.map(|u| &u.policies) else { continue };
            let written = comparable(policy, self.mask);
            if !wanted.contains(&written) {
                let known: BTreeSet<&str> = wanted.iter().flat_map(|p| p.lines()).collect();
                let new: Vec<&str> = written.lines().filter(|s| !known.contains(s)).collect();
                found.push(format!(
                    "S8: {operation} writes a policy that a run without faults does not; new in it: {new:?}"
                ));
            }
        }
    }

    /// One fault has an operation repeated once, and no more: who writes what is there already has not looked.
    fn counts(&self, usual: &Usual, history: History<'_>, found: &mut Vec<String>) {
        let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (entry, operation, parameters) in history.aws() {
            let each = made.entry(counted_as(operation, parameters, self.mask)).or_default();
            each.push(format!("\n  at {}: {parameters}", entry.asked));
        }
        for (operation, each) in made {
            let (count, most) = (each.len(), usual.counts.get(&operation).copied().unwrap_or_default() + 1);
            if count > most {
                let each = each.concat();
                found.push(format!("{operation} had an effect {count} times, at most {most} were expected:{each}"));
            }
        }
    }
}

/// When finalizers were asked to go, where that took effect, and the uids of their objects.
fn released<'a>(history: History<'a>, kind: &'static str) -> impl Iterator<Item = (&'a str, Timestamp)> {
    let removes = move |e: &&Entry| match &e.write {
        super::journal::Write::Kube { method, resource, body, .. } => {
            e.took_effect() && method == "PATCH" && resource == kind && body.to_string().contains(r#""op":"remove""#)
        }
        super::journal::Write::Aws { .. } | super::journal::Write::Outside { .. } => false,
    };
    let uid = |e: &'a Entry| e.answer.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    history.entries().iter().filter(removes).map(move |e| (uid(e), e.asked))
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
