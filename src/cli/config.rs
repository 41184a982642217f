//! From flags to settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{self, UsageError, entries, given};
use super::{Admission, PolicyArgs, RunArgs, host_name, issuer};
use crate::aws::clients::AwsSettings;
use crate::aws::limit::Limits;
use crate::clock::Clock;
use crate::domain::arn::Place;
use crate::domain::identity::role_path;
use crate::domain::installation::{Installation, Timing};
use crate::k8s::lease::Settings;
use crate::telemetry::{self, LogFormat};

/// Longest grant that the API takes at all (the CRD's rule on `spec.duration`).
const LONGEST_GRANT: Duration = Duration::from_secs(720 * 3600);

/// Everything that `run` needs to know, checked.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Name of the installation.
    pub cluster: String,
    /// How to reach AWS.
    pub aws: AwsSettings,
    /// Regions that buckets may name beside the operator's own.
    pub regions: Vec<String>,
    /// Start of every bucket name.
    pub bucket_prefix: String,
    /// ARN of the role for emergencies.
    pub break_glass_role: Option<String>,
    /// Issuer URL of the cluster's ServiceAccount tokens.
    pub oidc_issuer: String,
    /// Name of the boundary policy.
    pub boundary_policy_name: String,
    /// Put `aws:FederatedProvider` into bucket policies.
    pub pin_federation: bool,
    /// Limits and waiting times.
    pub timing: Timing,
    /// Who holds requesters and reviewers to who they are.
    pub admission: Admission,
    /// Roles whose session names the caller cannot choose.
    pub fixed_session_roles: Vec<String>,
    /// Namespaces to serve; all if empty.
    pub watch_namespaces: Vec<String>,
    /// The operator's own namespace, in which it proves that the admission policies are in force; `None` if something else refuses false names.
    pub prove_in: Option<String>,
    /// The lease; `None` to lead without one.
    pub election: Option<Election>,
    /// Name of this process.
    pub identity: String,
    /// Address of probes and metrics.
    pub listen: SocketAddr,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Level or directives, checked.
    pub log_level: String,
    /// Objects of one kind that are worked on at once.
    pub workers: usize,
    /// The clock. No flag sets it: tests give one that is off.
    pub clock: Clock,
}

/// Where the lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Periods.
    pub settings: Settings,
}

impl RunConfig {
    /// The installation, once AWS has said where and who we are.
    pub fn installation(&self, place: Place, operator_role: String) -> Installation {
        Installation {
            cluster: self.cluster.clone(),
            boundary: place.policy(&self.boundary_policy_name),
            place,
            regions: self.regions.clone(),
            bucket_prefix: self.bucket_prefix.clone(),
            operator_role,
            break_glass_role: self.break_glass_role.clone(),
            oidc_issuer: self.oidc_issuer.clone(),
            pin_federation: self.pin_federation,
            fixed_session_roles: self.fixed_session_roles.clone(),
            timing: self.timing.clone(),
        }
    }
}

impl RunArgs {
    /// Checks everything. Reads the token file if the issuer is not given.
    ///
    /// # Errors
    /// At the first value that cannot be.
    pub fn resolve(self) -> Result<RunConfig, UsageError> {
        // Exhaustive: a flag that nobody looks at does not compile.
        let Self {
            cluster,
            aws_region,
            aws_role_arn,
            aws_web_identity_token_file,
            aws_endpoint_url,
            regions,
            bucket_prefix,
            break_glass_role_arn,
            oidc_issuer,
            boundary_policy_name,
            pin_federation,
            grant_floor,
            grant_ceiling,
            policy_propagation,
            role_propagation,
            evidence_wait,
            drift_check,
            role_retention,
            grant_history,
            admission,
            fixed_session_roles,
            watch_namespaces,
            leader_elect,
            lease_namespace,
            lease_name,
            identity,
            listen,
            log_format,
            log_level,
            workers,
            no_aws_rate_limits,
            aws_call_log,
        } = self;
        check::cluster(&cluster)?;
        let regions = regions_checked("--aws-region", &aws_region, regions)?;
        let workloads = role_path(&cluster);
        let role_arn = given(aws_role_arn);
        let token_file = given(aws_web_identity_token_file).map(PathBuf::from);
        if let Some(arn) = &role_arn {
            check::role_arn("--aws-role-arn", arn, &workloads)?;
        }
        match (&role_arn, &token_file) {
            (Some(_), None) => {
                let remedy = "set --aws-web-identity-token-file too (IRSA sets both), or neither for EKS Pod Identity";
                return Err(UsageError::new("--aws-role-arn", "there is no token for the role", remedy));
            }
            (None, Some(_)) => {
                let remedy = "set --aws-role-arn too (IRSA sets both), or neither for EKS Pod Identity";
                return Err(UsageError::new("--aws-web-identity-token-file", "there is no role for the token", remedy));
            }
            _ => {}
        }
        let endpoint_url = given(aws_endpoint_url);
        endpoint_url.as_deref().map_or(Ok(()), check::endpoint)?;
        let oidc_issuer = match (given(oidc_issuer), &token_file) {
            (Some(issuer), _) => issuer,
            (None, Some(path)) => issuer::of_file(path).map_err(|problem| no_issuer(&problem))?,
            (None, None) => {
                return Err(no_issuer("it is not given, and there is no web identity token to take it from"));
            }
        };
        check::issuer(&oidc_issuer)?;
        let break_glass_role = given(break_glass_role_arn);
        if let Some(arn) = &break_glass_role {
            check::role_arn("--break-glass-role-arn", arn, &workloads)?;
        }
        let timing = Timing {
            grant_floor: check::duration("--grant-floor", &grant_floor)?,
            grant_ceiling: check::duration("--grant-ceiling", &grant_ceiling)?,
            policy_propagation: check::wait("--policy-propagation", &policy_propagation)?,
            role_propagation: check::wait("--role-propagation", &role_propagation)?,
            evidence_wait: check::wait("--evidence-wait", &evidence_wait)?,
            drift_check: check::duration("--drift-check", &drift_check)?,
            role_retention: check::wait("--role-retention", &role_retention)?,
            grant_history: check::duration("--grant-history", &grant_history)?,
        };
        limits(&timing)?;
        let watch_namespaces = entries(watch_namespaces);
        for namespace in &watch_namespaces {
            check::namespace("--watch-namespaces", namespace)?;
        }
        telemetry::filter(&log_level).map_err(|e| UsageError::new("--log-level", "cannot be used", e.to_string()))?;
        if workers == 0 {
            return Err(UsageError::new("--workers", "nothing would be worked on", "set at least 1"));
        }
        Ok(RunConfig {
            aws: AwsSettings {
                endpoint_url,
                region: aws_region,
                role_arn,
                web_identity_token_file: token_file,
                limits: if no_aws_rate_limits { Limits::unlimited() } else { Limits::half_of_quota() },
                call_log: given(aws_call_log).map(PathBuf::from),
            },
            regions,
            bucket_prefix: prefix(bucket_prefix, &cluster)?,
            break_glass_role,
            oidc_issuer,
            boundary_policy_name: boundary(boundary_policy_name, &cluster)?,
            pin_federation,
            timing,
            admission,
            fixed_session_roles: entries(fixed_session_roles),
            watch_namespaces,
            election: leader_elect.then(|| election(lease_namespace.clone(), lease_name)).transpose()?,
            prove_in: own_namespace(admission, lease_namespace)?,
            identity: given(identity).unwrap_or_else(random_identity),
            listen,
            log_format,
            log_level,
            workers,
            cluster,
            clock: Clock::new(),
        })
    }
}

impl PolicyArgs {
    /// The installation that the policies are for, as far as they need it.
    ///
    /// # Errors
    /// At the first value that cannot be.
    pub fn installation(self) -> Result<Installation, UsageError> {
        let Self {
            cluster,
            account,
            region,
            regions,
            partition,
            bucket_prefix,
            operator_role_arn,
            operator_role_name,
            break_glass_role_arn,
            boundary_policy_name,
        } = self;
        check::cluster(&cluster)?;
        check::account(&account)?;
        check::partition(&partition)?;
        let regions = regions_checked("--region", &region, regions)?;
        let workloads = role_path(&cluster);
        let place = Place { partition, account, region };
        let (flag, operator_role) = match operator_role_arn {
            Some(arn) => ("--operator-role-arn", arn),
            None => ("--operator-role-name", place.role("/", operator_role_name.trim_start_matches('/'))),
        };
        check::role_arn(flag, &operator_role, &workloads)?;
        if let Some(arn) = &break_glass_role_arn {
            check::role_arn("--break-glass-role-arn", arn, &workloads)?;
        }
        Ok(Installation {
            bucket_prefix: prefix(bucket_prefix, &cluster)?,
            boundary: place.policy(&boundary(boundary_policy_name, &cluster)?),
            place,
            regions,
            operator_role,
            break_glass_role: break_glass_role_arn,
            // No policy of an installation names the issuer; those of workload roles do.
            oidc_issuer: String::new(),
            pin_federation: false,
            fixed_session_roles: Vec::new(),
            timing: Timing::default(),
            cluster,
        })
    }
}

fn regions_checked(flag: &'static str, own: &str, further: Vec<String>) -> Result<Vec<String>, UsageError> {
    check::region(flag, own)?;
    let further = entries(further);
    for region in &further {
        check::region("--regions", region)?;
    }
    Ok(further)
}

fn prefix(flag: Option<String>, cluster: &str) -> Result<String, UsageError> {
    let flag = given(flag);
    let prefix = flag.clone().unwrap_or_else(|| cluster.to_owned());
    check::bucket_prefix(&prefix, flag.is_none())?;
    Ok(prefix)
}

fn boundary(flag: Option<String>, cluster: &str) -> Result<String, UsageError> {
    let name = given(flag).unwrap_or_else(|| format!("securebucket-{cluster}-boundary"));
    check::policy_name(&name)?;
    Ok(name)
}

fn limits(timing: &Timing) -> Result<(), UsageError> {
    if timing.grant_floor > timing.grant_ceiling {
        let remedy = "lower it, or raise --grant-ceiling";
        return Err(UsageError::new("--grant-floor", "it is above --grant-ceiling, so that no grant could be", remedy));
    }
    if timing.grant_ceiling > LONGEST_GRANT {
        return Err(UsageError::new("--grant-ceiling", "no grant can be longer than 720h", "set at most 720h"));
    }
    Ok(())
}

fn election(namespace: Option<String>, name: String) -> Result<Election, UsageError> {
    let Some(namespace) = given(namespace) else {
        let remedy =
            "set it (or POD_NAMESPACE) to the operator's own namespace, or --leader-elect=false for a single process";
        return Err(UsageError::new("--lease-namespace", "there is no namespace for the lease", remedy));
    };
    check::namespace("--lease-namespace", &namespace)?;
    let Some(name) = given(Some(name)) else {
        return Err(UsageError::new("--lease-name", "it is empty", "leave it out for the default"));
    };
    Ok(Election { namespace, name, settings: Settings::default() })
}

fn own_namespace(mode: Admission, namespace: Option<String>) -> Result<Option<String>, UsageError> {
    if mode == Admission::Off {
        return Ok(None);
    }
    let Some(namespace) = given(namespace) else {
        let remedy = "set it (or POD_NAMESPACE) to the operator's own namespace, or --admission=Off if something else refuses false names";
        return Err(UsageError::new(
            "--lease-namespace",
            "there is no namespace to prove the admission policies in",
            remedy,
        ));
    };
    check::namespace("--lease-namespace", &namespace)?;
    Ok(Some(namespace))
}

fn no_issuer(problem: &str) -> UsageError {
    let remedy = "set it to what `aws eks describe-cluster --query cluster.identity.oidc.issuer` prints";
    UsageError::new("--oidc-issuer", problem, remedy)
}

fn random_identity() -> String {
    format!("{}-{:.8}", host_name().unwrap_or_else(|| "securebucket".into()), uuid::Uuid::new_v4().simple().to_string())
}
