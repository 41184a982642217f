//! Command line and environment: the only reader of the latter. Everything is checked here, before anything is started, and each complaint
//! names the flag and the way out.

use std::net::SocketAddr;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::domain::enforcement::Enforcement;
use crate::telemetry::LogFormat;

mod check;
mod config;
mod issuer;

pub use check::UsageError;
pub use config::{Election, RunConfig};

/// The SecureBucket operator: who can decrypt, what, until when, and who agreed.
#[derive(Debug, Parser)]
#[command(name = "securebucket", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Print the ValidatingAdmissionPolicies and their bindings as YAML: who may ask, review, delegate and write status.
    Admission,
    /// Print an IAM policy that an installation needs, or the calls that it is generated from.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

/// What `policy` prints.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// The policy of the operator's own role.
    Operator(Box<PolicyArgs>),
    /// The permissions boundary of every workload role: a managed policy that must exist before the operator starts.
    Boundary(Box<PolicyArgs>),
    /// The AWS calls that the operator makes, with the permissions that each needs.
    Calls,
}

/// Who holds requesters and reviewers to who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Admission {
    /// The admission policies that come with the operator.
    Enforce,
    /// Something else.
    Off,
}

impl Admission {
    /// What is known at the start.
    pub fn at_start(self) -> Enforcement {
        match self {
            Self::Enforce => Enforcement::unproven(),
            Self::Off => Enforcement::elsewhere(),
        }
    }
}

/// Flags of `run`. Each can come from the environment variable named instead.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of this installation: part of tags, aliases and role paths. Unique in the AWS account, and never changed.
    #[arg(long, env = "SECUREBUCKET_CLUSTER")]
    pub cluster: String,

    /// AWS region of the operator, and of buckets that name none.
    #[arg(long, env = "AWS_REGION")]
    pub aws_region: String,
    /// IAM role of the operator, for IRSA; goes with the token file. Without both, the SDK's default chain (EKS Pod Identity) is asked.
    #[arg(long, env = "AWS_ROLE_ARN")]
    pub aws_role_arn: Option<String>,
    /// File with the ServiceAccount token for that role.
    #[arg(long, env = "AWS_WEB_IDENTITY_TOKEN_FILE")]
    pub aws_web_identity_token_file: Option<String>,
    /// One endpoint for all AWS services instead of AWS's own.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub aws_endpoint_url: Option<String>,

    /// Further regions that buckets may name, comma-separated.
    #[arg(long, env = "SECUREBUCKET_REGIONS", value_delimiter = ',')]
    pub regions: Vec<String>,
    /// Every bucket name begins with this and a dash; the operator's IAM policy reaches no other bucket. Default: the cluster.
    #[arg(long, env = "SECUREBUCKET_BUCKET_PREFIX")]
    pub bucket_prefix: Option<String>,
    /// IAM role for people in an emergency: it may administer keys and buckets, never read.
    #[arg(long, env = "SECUREBUCKET_BREAK_GLASS_ROLE_ARN")]
    pub break_glass_role_arn: Option<String>,
    /// Issuer URL of the cluster's ServiceAccount tokens. Default: that of the operator's own web identity token.
    #[arg(long, env = "SECUREBUCKET_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// Name of the managed policy that bounds workload roles. Default: securebucket-<cluster>-boundary.
    #[arg(long, env = "SECUREBUCKET_BOUNDARY_POLICY_NAME")]
    pub boundary_policy_name: Option<String>,
    /// Pin bucket policies to the cluster's OIDC provider (`aws:FederatedProvider`).
    #[arg(long, env = "SECUREBUCKET_PIN_FEDERATION", default_value = "false", default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub pin_federation: bool,

    /// Shortest grant.
    #[arg(long, env = "SECUREBUCKET_GRANT_FLOOR", default_value = "15m")]
    pub grant_floor: String,
    /// Longest grant, whatever its bucket says.
    #[arg(long, env = "SECUREBUCKET_GRANT_CEILING", default_value = "72h")]
    pub grant_ceiling: String,
    /// How long a changed role policy needs to be known to all of AWS.
    #[arg(long, env = "SECUREBUCKET_POLICY_PROPAGATION", default_value = "15s")]
    pub policy_propagation: String,
    /// The same for a new role.
    #[arg(long, env = "SECUREBUCKET_ROLE_PROPAGATION", default_value = "60s")]
    pub role_propagation: String,
    /// How long a removed grant must have been seen gone before the Deny that ended it may leave.
    #[arg(long, env = "SECUREBUCKET_EVIDENCE_WAIT", default_value = "10m")]
    pub evidence_wait: String,
    /// Time between two checks of one object against AWS.
    #[arg(long, env = "SECUREBUCKET_DRIFT_CHECK", default_value = "10m")]
    pub drift_check: String,
    /// How long a role that nothing needs stays, without a policy, after its last use.
    #[arg(long, env = "SECUREBUCKET_ROLE_RETENTION", default_value = "24h")]
    pub role_retention: String,
    /// How long an ended grant is kept as a record after its removal was proved; then the operator deletes the object.
    #[arg(long, env = "SECUREBUCKET_GRANT_HISTORY", default_value = "2160h")]
    pub grant_history: String,

    /// Who holds requesters and reviewers to who they are. Enforce: the admission policies that come with the operator, which it proves before an
    /// approval counts. Off: something else does, Kyverno for example; without it anybody approves in anybody's name.
    #[arg(long, env = "SECUREBUCKET_ADMISSION", default_value = "Enforce", ignore_case = true)]
    pub admission: Admission,
    /// IAM roles whose session names the caller cannot choose, comma-separated: their unique ids (AROA…), or the uids of their users as
    /// `kubectl auth whoami` shows them. Two people under one such role are two persons.
    #[arg(long, env = "SECUREBUCKET_FIXED_SESSION_ROLES", value_delimiter = ',')]
    pub fixed_session_roles: Vec<String>,

    /// Namespaces to serve, comma-separated. Default: all.
    #[arg(long, env = "SECUREBUCKET_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Stand by until the lease is free. Only off where there can be one process at most.
    #[arg(long, env = "SECUREBUCKET_LEADER_ELECT", default_value = "true", default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub leader_elect: bool,
    /// The operator's own namespace: of the lease, and of the proof that the admission policies are in force.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the lease.
    #[arg(long, env = "SECUREBUCKET_LEASE_NAME", default_value = "securebucket-operator")]
    pub lease_name: String,
    /// Name of this process in the lease and in events; unique. Default: host name and a random part.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Address of probes and metrics.
    #[arg(long, env = "SECUREBUCKET_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Form of the log.
    #[arg(long, env = "SECUREBUCKET_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// error, warn, info, debug or trace; or directives such as info,kube=debug.
    #[arg(long, env = "SECUREBUCKET_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Objects of one kind that are worked on at once.
    #[arg(long, env = "SECUREBUCKET_WORKERS", default_value = "8")]
    pub workers: usize,

    /// Do not limit the rate of AWS calls. For a local stack.
    #[arg(long, env = "SECUREBUCKET_NO_AWS_RATE_LIMITS", value_parser = BoolishValueParser::new())]
    pub no_aws_rate_limits: bool,
    /// File for the names of the AWS operations called.
    #[arg(long, env = "SECUREBUCKET_AWS_CALL_LOG", hide = true)]
    pub aws_call_log: Option<String>,
}

/// Flags of `policy`.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// As for `run`.
    #[arg(long)]
    pub cluster: String,
    /// AWS account, 12 digits.
    #[arg(long)]
    pub account: String,
    /// AWS region of the operator.
    #[arg(long)]
    pub region: String,
    /// Further regions that buckets may name, comma-separated.
    #[arg(long, value_delimiter = ',')]
    pub regions: Vec<String>,
    /// AWS partition.
    #[arg(long, default_value = "aws")]
    pub partition: String,
    /// As for `run`.
    #[arg(long)]
    pub bucket_prefix: Option<String>,
    /// ARN of the operator's role, if it has a path or lies in another account.
    #[arg(long, conflicts_with = "operator_role_name")]
    pub operator_role_arn: Option<String>,
    /// Name of the operator's role.
    #[arg(long, default_value = "securebucket-operator")]
    pub operator_role_name: String,
    /// As for `run`.
    #[arg(long)]
    pub break_glass_role_arn: Option<String>,
    /// As for `run`.
    #[arg(long)]
    pub boundary_policy_name: Option<String>,
}

/// Host name as the container runtime sets it: the pod's name.
#[allow(clippy::disallowed_methods, reason = "cli is the reader of the environment")]
fn host_name() -> Option<String> {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
#[path = "cli/tests.rs"]
mod tests;
