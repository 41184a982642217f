//! The command line of the plugin, and the only place of it that reads the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::cli_asking::{ExtendArgs, RequestArgs};
use super::exit::{Exit, Failure, Outcome};
use super::names::{Account, Named};
use crate::api::lockdown::LockdownLevel;
use crate::domain::time::parse_duration;

/// Heading of the flags that kubectl has as well.
const KUBECTL: &str = "Flags as of kubectl";

const EXIT_CODES: &str = "\
Exit codes: 0 done, or yes; 1 refused, not found or not reachable; 2 wrong
usage; 3 the answer is no (can-i, doctor); 4 it ended otherwise than asked for;
124 not within --timeout; 130 interrupted.";

/// Ask for access to SecureBuckets, decide on it, end it, and see who can decrypt.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-securebucket", bin_name = "kubectl securebucket", version, max_term_width = 80,
    disable_help_subcommand = true, after_help = EXIT_CODES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where, as whom, and in which form.
    #[command(flatten)]
    pub common: Common,
}

/// Flags that every command has.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Namespace; without it, that of the kubeconfig's context.
    #[arg(short, long, global = true, value_name = "NAME", help_heading = KUBECTL)]
    pub namespace: Option<String>,
    /// Print objects instead of sentences: json, yaml, wide or name.
    #[arg(short, long, global = true, value_name = "FORM", hide_possible_values = true, help_heading = KUBECTL)]
    pub output: Option<Form>,
    /// server: have everything checked by the API server, and change nothing.
    #[arg(long, global = true, value_name = "HOW", default_value = "none", hide_default_value = true,
          hide_possible_values = true, help_heading = KUBECTL)]
    pub dry_run: DryRun,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = KUBECTL)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = KUBECTL)]
    pub cluster: Option<String>,
    /// User of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = KUBECTL)]
    pub user: Option<String>,
    /// Another kubeconfig.
    #[arg(long, global = true, value_name = "FILE", help_heading = KUBECTL)]
    pub kubeconfig: Option<PathBuf>,
    /// Act as this user, with the right to impersonate.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = KUBECTL)]
    pub as_user: Option<String>,
    /// Act as a member of this group; can be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "as_user", help_heading = KUBECTL)]
    pub as_groups: Vec<String>,
    /// Act with this uid.
    #[arg(long = "as-uid", global = true, value_name = "UID", requires = "as_user", help_heading = KUBECTL)]
    pub as_uid: Option<String>,
}

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// A table with more columns.
    Wide,
    /// `kind.group/name`.
    Name,
}

impl Cli {
    /// The form that `-o` asks for.
    ///
    /// # Errors
    /// If the command does not print in that form.
    pub fn form(&self) -> Outcome<Option<Form>> {
        let has: &[Form] = match self.command {
            Command::List(_) => &[Form::Json, Form::Yaml, Form::Wide, Form::Name],
            Command::WhoCan(_) => &[Form::Json, Form::Yaml, Form::Wide],
            Command::Why(_) | Command::Doctor(_) | Command::CanI(_) | Command::RoleArn(_) => &[Form::Json, Form::Yaml],
            Command::Completion(_) | Command::Complete(_) => &[],
            // What they write.
            _ => &[Form::Json, Form::Yaml, Form::Name],
        };
        let word = |form: &Form| form.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        match self.common.output {
            Some(form) if !has.contains(&form) => {
                let others: Vec<String> = has.iter().map(|f| format!("-o {}", word(f))).collect();
                let others = if others.is_empty() { "no -o at all".into() } else { others.join(", ") };
                Err(Failure::new(
                    Exit::Usage,
                    format!("-o {}: this command does not have it; it has {others}", word(&form)),
                ))
            }
            form => Ok(form),
        }
    }
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is.
    #[default]
    None,
    /// The API server checks, and keeps nothing.
    Server,
}

/// Flags of commands whose effect takes a while.
#[derive(Args, Clone, Debug)]
pub struct Waiting {
    /// Wait until it has come about, and say on the way what it waits for.
    #[arg(long)]
    pub wait: bool,
    /// The longest wait, such as 90s or 1h.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = parse_duration(text).map_err(|e| e.to_string())?;
    Duration::try_from(parsed).map_err(|e| e.to_string())
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask that a ServiceAccount may read from a SecureBucket for a while.
    Request(RequestArgs),
    /// Ask that access goes on when a grant is over: a new request, approved anew.
    Extend(ExtendArgs),
    /// List DecryptGrants, or the requests that wait for a decision.
    List(ListArgs),
    /// Agree to a request, as it stands.
    Approve(ApproveArgs),
    /// Refuse a request, for good.
    Deny(DecideArgs),
    /// End access that a grant gives, for good.
    Revoke(DecideArgs),
    /// Give back access of a grant before its time is over.
    HandBack(HandBackArgs),
    /// Say what a grant, review or bucket waits for, who can act, and how.
    Why(WhyArgs),
    /// List who can decrypt now, through what, until when, and who agreed.
    WhoCan(WhoCanArgs),
    /// Close a bucket at once: nobody reads, and its grants are over for good.
    Lockdown(LockdownArgs),
    /// Lift a lockdown.
    Lift(LiftArgs),
    /// Look at the installation: what works, what does not, and the way out.
    Doctor(DoctorArgs),
    /// Say whether you may do something with a SecureBucket.
    CanI(CanIArgs),
    /// Print the IAM role of a ServiceAccount.
    RoleArn(RoleArnArgs),
    /// Print a script that completes commands and flags in a shell.
    Completion(CompletionArgs),
    /// Candidates for kubectl's own completion of plugins.
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
}

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only requests that wait for a decision, also as the buckets of the namespace
    /// show them.
    #[arg(long)]
    pub pending: bool,
    /// In all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = KUBECTL)]
    pub all_namespaces: bool,
}

/// `deny`, `revoke`, and what `approve` has in common with them.
#[derive(Args, Debug)]
pub struct DecideArgs {
    /// The DecryptGrant, in the namespace of -n.
    pub grant: Named,
    /// Why, for auditors.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// The bucket that it asks for, if you may not read requests in that namespace.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub bucket: Option<Account>,
    /// Waiting, until it has taken effect.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// As for the other decisions.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Agree to a shorter time than was asked for.
    #[arg(long, value_name = "TIME")]
    pub max_duration: Option<String>,
}

/// `hand-back`.
#[derive(Args, Debug)]
pub struct HandBackArgs {
    /// The DecryptGrant, in the namespace of -n.
    pub grant: Named,
    /// Waiting, until nothing of it is left in AWS.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `why`.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// A DecryptGrant, or a SecureBucket if there is no grant of the name; sbkt/NAME,
    /// dgrant/NAME and greview/NAME say which.
    #[arg(value_name = "[KIND/]NAME")]
    pub object: Named,
}

/// `who-can`.
#[derive(Args, Debug)]
pub struct WhoCanArgs {
    /// The SecureBucket.
    pub bucket: Named,
}

/// `lockdown`.
#[derive(Args, Debug)]
pub struct LockdownArgs {
    /// The SecureBucket.
    pub bucket: Named,
    /// Why, for those who find it closed. No secrets.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Reads: nobody reads, writing goes on. All: nobody does anything, and the key
    /// is disabled.
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    pub level: Option<Level>,
    /// Waiting, until AWS was read back closed.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// How much is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Level {
    /// Reading.
    Reads,
    /// Everything.
    All,
}

impl From<Level> for LockdownLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Reads => Self::Reads,
            Level::All => Self::All,
        }
    }
}

/// `lift`.
#[derive(Args, Debug)]
pub struct LiftArgs {
    /// The SecureBucket.
    pub bucket: Named,
    /// Id of the lockdown, or its first 4 digits at least: so that nobody lifts one
    /// that he does not know of.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Waiting, until AWS was read back open.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Namespace of the operator. Without it: all of them, or securebucket-system for
    /// who may not look everywhere.
    #[arg(long, value_name = "NAME")]
    pub operator_namespace: Option<String>,
}

/// `can-i`.
#[derive(Args, Debug)]
pub struct CanIArgs {
    /// What you want to do.
    pub verb: Deed,
    /// The SecureBucket, in the namespace of -n.
    pub bucket: Named,
    /// Where the request lies, for request and hand-back, if not in the bucket's
    /// namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub from: Option<String>,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Deed {
    /// Ask for access.
    Request,
    /// Agree to a request.
    Approve,
    /// Refuse one.
    Deny,
    /// End a grant.
    Revoke,
    /// Give a grant back.
    HandBack,
    /// Change who may decrypt.
    Delegate,
    /// Close the bucket.
    Lockdown,
    /// Open it again.
    #[value(alias = "lift")]
    LiftLockdown,
    /// Have access at once, with the review afterwards.
    Breakglass,
    /// See who can decrypt.
    WhoCan,
}

/// `role-arn`.
#[derive(Args, Debug)]
pub struct RoleArnArgs {
    /// The ServiceAccount.
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pub service_account: Account,
    /// AWS account, if no object here tells it.
    #[arg(long, value_name = "ID", requires = "installation")]
    pub account: Option<String>,
    /// Name of the installation (cluster.name of the chart), likewise.
    #[arg(long, value_name = "NAME", requires = "account")]
    pub installation: Option<String>,
    /// AWS partition.
    #[arg(long, value_name = "NAME", default_value = "aws")]
    pub partition: String,
}

/// `completion`.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell; kubectl prints the file kubectl_complete-securebucket, which
    /// kubectl's own completion calls.
    pub shell: Shell,
}

/// Where completion is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// kubectl's completion.
    Kubectl,
}

/// `__complete`.
#[derive(Args, Debug)]
pub struct CompleteArgs {
    /// The words behind `kubectl securebucket`; the last one is to be completed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// True if no colours are wanted (<https://no-color.org>).
#[allow(clippy::disallowed_methods, reason = "the plugin's reader of the environment")]
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
