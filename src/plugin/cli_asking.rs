//! The command line of `request` and `extend`.

use clap::Args;

use super::cli::Waiting;
use super::names::{Account, Named};

const REQUEST_USAGE: &str = "\
kubectl securebucket request [OPTIONS] <BUCKET>
       --for-service-account <[NAMESPACE/]NAME> --prefix <PREFIX>
       --duration <TIME> --reason <TEXT>";

const EXTEND_USAGE: &str = "\
kubectl securebucket extend [OPTIONS] <GRANT>
       --duration <TIME> --reason <TEXT>";

/// `request`.
#[derive(Args, Debug)]
#[command(override_usage = REQUEST_USAGE)]
pub struct RequestArgs {
    /// The SecureBucket, in the namespace of -n.
    pub bucket: Named,
    /// Who is to read: a ServiceAccount, with its namespace if that is not the
    /// bucket's. The request lies there.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub for_service_account: Account,
    /// What: a path that ends in '/', or '*' for all; can be repeated.
    #[arg(long = "prefix", value_name = "PREFIX", required = true)]
    pub prefixes: Vec<String>,
    /// How long, from the beginning of access: 15m, 4h.
    #[arg(long, value_name = "TIME")]
    pub duration: String,
    /// Why, for those who decide. No secrets: it is shown in events and logs.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Ticket, where the bucket's owner asks for one.
    #[arg(long, value_name = "NUMBER")]
    pub ticket: Option<String>,
    /// In an emergency: at once and without approval, where the bucket allows it and
    /// you hold the verb breakglass on it. Somebody else reviews it afterwards.
    #[arg(long, conflicts_with = "not_before")]
    pub break_glass: bool,
    /// When access begins at the earliest: 2026-11-24T18:00:00Z.
    #[arg(long, value_name = "INSTANT")]
    pub not_before: Option<String>,
    /// Name of the request; without it, one that begins with the ServiceAccount's.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Waiting, until access is there.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `extend`.
#[derive(Args, Debug)]
#[command(override_usage = EXTEND_USAGE)]
pub struct ExtendArgs {
    /// The DecryptGrant, in the namespace of -n, while it is active.
    pub grant: Named,
    /// How long, from when this is approved: 15m, 4h.
    #[arg(long, value_name = "TIME")]
    pub duration: String,
    /// Why, for those who decide. No secrets: it is shown in events and logs.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only this of what it may read: a path that ends in '/'; can be repeated.
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub prefixes: Vec<String>,
    /// Ticket, where the bucket's owner asks for one.
    #[arg(long, value_name = "NUMBER")]
    pub ticket: Option<String>,
    /// Name of the request; without it, one that begins with the ServiceAccount's.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Waiting, until access is there.
    #[command(flatten)]
    pub waiting: Waiting,
}
