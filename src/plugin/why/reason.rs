//! The explanation of one reason, and the pieces that several share.

use super::Who;
use super::reasons::TABLE;
use crate::plugin::names::Kind;

/// One reason.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// The word.
    pub word: &'static str,
    /// The kind on which it means this; `None`: on any other.
    pub on: Option<Kind>,
    /// What it means.
    pub means: &'static str,
    /// Who can act.
    pub who: Who,
    /// What he would type, with places for names: see [`super::fill`].
    pub commands: &'static [&'static str],
}

/// The explanation of a reason on an object of this kind.
pub fn explain(word: &str, kind: Kind) -> Option<&'static Reason> {
    let of = |on: Option<Kind>| TABLE.iter().find(|r| r.word == word && r.on == on);
    of(Some(kind)).or_else(|| of(None))
}

pub(super) const fn any(
    word: &'static str,
    means: &'static str,
    who: Who,
    commands: &'static [&'static str],
) -> Reason {
    Reason { word, on: None, means, who, commands }
}

pub(super) const fn on(
    kind: Kind,
    word: &'static str,
    means: &'static str,
    who: Who,
    commands: &'static [&'static str],
) -> Reason {
    Reason { word, on: Some(kind), means, who, commands }
}

pub(super) const ANEW: &[&str] = &["{anew}"];
pub(super) const ANEW_REVIEW: &[&str] = &["kubectl securebucket approve {grant} -n {grant-ns}"];
pub(super) const GRANTS: &[&str] = &["kubectl get sbkt {bucket} -n {bucket-ns} -o jsonpath='{.spec.grants}'"];
pub(super) const EDIT_BUCKET: &[&str] = &["kubectl edit sbkt {bucket} -n {bucket-ns}"];
pub(super) const WHY_BUCKET: &[&str] = &["kubectl securebucket why sbkt/{bucket} -n {bucket-ns}"];
pub(super) const DOCTOR: &[&str] = &["kubectl securebucket doctor"];
pub(super) const RECONCILE: &[&str] =
    &["kubectl annotate sbkt {bucket} -n {bucket-ns} --overwrite securebucket.io/reconcile-at=\"$(date)\""];
pub(super) const LOGS: &[&str] = &["kubectl logs -n securebucket-system -l app.kubernetes.io/component=operator"];
pub(super) const POLICY: &[&str] =
    &["securebucket policy operator --cluster CLUSTER --account ACCOUNT --region REGION"];
