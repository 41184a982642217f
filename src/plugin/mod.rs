//! `kubectl securebucket`: asking, deciding and looking, with less to type. It talks to the API server alone, in the name of whoever runs it, and can
//! do nothing that plain kubectl cannot: every right is the caller's, and every rule is the API server's or the operator's.
//!
//! Results go to stdout, words for people to stderr. An error says what to type next. See `docs/plugin.md`.

mod can_i;
pub mod cli;
mod cli_asking;
mod completion;
mod doctor;
pub mod exit;
mod extend;
mod find;
mod hand_back;
mod list;
mod lockdown;
mod names;
mod out;
mod request;
mod review;
mod role_arn;
mod talk;
mod terms;
mod wait;
mod who_can;
mod whoami;
pub mod why;

use std::process::ExitCode;

use clap::Parser;

use crate::api::grant_review::Decision;
use cli::{Cli, Command, Common};
use exit::{Exit, Failure, Outcome};
use out::Out;
use talk::Session;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let form = cli.form();
    let out = Out::new(form.as_ref().ok().copied().flatten());
    if let Err(failure) = form {
        out.failure(&failure);
        return failure.exit.into();
    }
    // Another provider would have to be in the build.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(&cli, &out)),
        Err(error) => Err(Failure::failed(error.to_string())),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        out.failure(&failure);
        failure.exit
    });
    exit.into()
}

async fn run(cli: &Cli, out: &Out) -> Outcome {
    let open = async || Session::open(&cli.common).await;
    match &cli.command {
        Command::Completion(args) => completion::script(out, args.shell),
        Command::Complete(args) => completion::candidates(out, &args.words),
        Command::RoleArn(args) => role_arn::role_arn(open, out, args).await,
        command => with(&open().await?, out, command, &cli.common).await,
    }
}

async fn with(session: &Session, out: &Out, command: &Command, common: &Common) -> Outcome {
    match command {
        Command::Request(args) => request::request(session, out, args).await,
        Command::Extend(args) => extend::extend(session, out, args).await,
        Command::List(args) => list::list(session, out, args, now()).await,
        Command::Approve(args) => {
            let most = args.max_duration.as_deref();
            review::decide(session, out, &args.decide, Decision::Approve, most).await
        }
        Command::Deny(args) => review::decide(session, out, args, Decision::Deny, None).await,
        Command::Revoke(args) => review::decide(session, out, args, Decision::Revoke, None).await,
        Command::HandBack(args) => hand_back::hand_back(session, out, args).await,
        Command::Why(args) => why::why(session, out, args).await,
        Command::WhoCan(args) => who_can::who_can(session, out, args).await,
        Command::Lockdown(args) => lockdown::lockdown(session, out, args).await,
        Command::Lift(args) => lockdown::lift(session, out, args).await,
        Command::Doctor(args) => doctor::doctor(session, out, args, common, now()).await,
        Command::CanI(args) => can_i::can_i(session, out, args).await,
        Command::RoleArn(_) | Command::Completion(_) | Command::Complete(_) => Ok(Exit::Done),
    }
}

/// The time of this machine, for ages and for what is overdue. Nothing is decided by it.
#[allow(clippy::disallowed_methods, reason = "the plugin's reader of the wall clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[cfg(test)]
mod tests;
