//! `role-arn`: the IAM role of a ServiceAccount, for the annotation `eks.amazonaws.com/role-arn`.
//!
//! The name follows from installation, namespace and name alone, so that it is known before the role is. What is not known without AWS is the
//! account, and what the installation is called: both stand in every role's ARN.

use std::collections::BTreeSet;

use serde_json::json;

use super::cli::RoleArnArgs;
use super::exit::{Exit, Failure, Outcome};
use super::find::all;
use super::out::Out;
use super::talk::Session;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::arn::Place;
use crate::domain::identity::{role_name, role_path};

/// Prints it. The connection is made only if something has to be looked up.
///
/// # Errors
/// If it is not known.
pub async fn role_arn(session: impl AsyncFnOnce() -> Outcome<Session>, out: &Out, args: &RoleArnArgs) -> Outcome {
    if let (Some(account), Some(installation)) = (&args.account, &args.installation) {
        let origin =
            Origin { partition: args.partition.clone(), account: account.clone(), installation: installation.clone() };
        let Some(namespace) = &args.service_account.namespace else {
            return Err(Failure::new(Exit::Usage, "say the namespace too: NAMESPACE/NAME"));
        };
        return print(out, &origin.role(namespace, &args.service_account.name));
    }
    let session = session().await?;
    let namespace = args.service_account.namespace_or(&session.namespace).to_owned();
    let name = &args.service_account.name;
    let own = known(&session, Some(&namespace)).await;
    if let Some(role) = own.iter().find(|k| k.namespace == namespace && k.account == *name) {
        return print(out, &role.arn);
    }
    let seen = if own.is_empty() { known(&session, None).await } else { own };
    let origins: BTreeSet<Origin> = seen.iter().filter_map(|k| Origin::of(&k.arn)).collect();
    let origins: Vec<Origin> = origins.into_iter().collect();
    match origins.as_slice() {
        [one] => {
            out.note("computed: no duty and no grant names this ServiceAccount yet, so the role need not exist");
            print(out, &one.role(&namespace, name))
        }
        [] => Err(unknown(&namespace, name, "no SecureBucket or DecryptGrant that you may read tells the AWS account")),
        _ => Err(unknown(&namespace, name, "several installations serve this cluster")),
    }
}

fn print(out: &Out, arn: &str) -> Outcome {
    if !out.value(&json!({"roleArn": arn}))? {
        out.line(arn);
    }
    Ok(Exit::Done)
}

fn unknown(namespace: &str, name: &str, why: &str) -> Failure {
    Failure::failed(format!("the role of {namespace}/{name} is not known: {why}"))
        .next(format!("kubectl securebucket role-arn {namespace}/{name} --account ID --installation NAME (cluster.name of the chart)"))
        .next(format!("declare the duty or ask for the grant first, then: kubectl get sbkt -n {namespace} -o jsonpath='{{.items[*].status.duties[*].roleArn}}'"))
}

/// A role that an object names.
struct Known {
    namespace: String,
    account: String,
    arn: String,
}

async fn known(session: &Session, namespace: Option<&str>) -> Vec<Known> {
    let buckets: Vec<SecureBucket> = all(session, namespace).await.unwrap_or_default();
    let grants: Vec<DecryptGrant> = all(session, namespace).await.unwrap_or_default();
    let duties = buckets.into_iter().flat_map(|b| {
        let namespace = b.metadata.namespace.unwrap_or_default();
        let duties = b.status.map(|s| s.duties).unwrap_or_default();
        duties.into_iter().map(move |d| Known {
            namespace: namespace.clone(),
            account: d.service_account,
            arn: d.role_arn,
        })
    });
    let subjects = grants.into_iter().filter_map(|g| {
        let resolved = g.status?.resolved?;
        Some(Known { namespace: g.metadata.namespace?, account: resolved.service_account, arn: resolved.role_arn })
    });
    duties.chain(subjects).collect()
}

/// What all roles of an installation have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    partition: String,
    account: String,
    installation: String,
}

impl Origin {
    /// From `arn:<partition>:iam::<account>:role/securebucket/<installation>/<name>`.
    fn of(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (_, partition, _, _, account, path) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let installation = path.strip_prefix("role/securebucket/")?.split_once('/')?.0;
        Some(Self { partition: partition.into(), account: account.into(), installation: installation.into() })
    }

    fn role(&self, namespace: &str, service_account: &str) -> String {
        let place = Place { partition: self.partition.clone(), account: self.account.clone(), region: String::new() };
        let name = role_name(&self.installation, namespace, service_account);
        place.role(&role_path(&self.installation), &name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_role_tells_all() {
        let one = "arn:aws:iam::111122223333:role/securebucket/prod-eu/telephony--ingest-5d0c17aa";
        let origin = Origin::of(one).unwrap();
        let arn = origin.role("analytics", "reports");
        assert_eq!(arn, "arn:aws:iam::111122223333:role/securebucket/prod-eu/analytics--reports-72684a65");
        assert_eq!(Origin::of(&arn), Some(origin));
        assert_eq!(Origin::of("arn:aws:iam::111122223333:role/other"), None);
    }
}
