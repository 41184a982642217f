//! Completion of commands and flags: scripts for shells, and kubectl's own way of asking a plugin (`kubectl_complete-<plugin>` in the PATH).

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::cli::{Cli, Shell};
use super::exit::{Exit, Outcome};
use super::out::Out;

/// Name of the program, which the scripts complete.
const PROGRAM: &str = "kubectl-securebucket";

/// The file that kubectl's completion runs.
const FOR_KUBECTL: &str = "#!/bin/sh
# Put this as kubectl_complete-securebucket into a directory of the PATH and make it
# executable; kubectl's own completion calls it.
exec kubectl-securebucket __complete -- \"$@\"
";

/// Prints a script.
///
/// # Errors
/// Never.
pub fn script(out: &Out, shell: Shell) -> Outcome {
    // The program is called by its file name where a shell completes it.
    let mut command = Cli::command().bin_name(PROGRAM);
    let mut text = Vec::new();
    match shell {
        Shell::Bash => generate(Bash, &mut command, PROGRAM, &mut text),
        Shell::Zsh => generate(Zsh, &mut command, PROGRAM, &mut text),
        Shell::Fish => generate(Fish, &mut command, PROGRAM, &mut text),
        Shell::Kubectl => text.extend_from_slice(FOR_KUBECTL.as_bytes()),
    }
    out.text(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

/// Prints candidates for the last word as kubectl wants them (Cobra): one in a line, with its meaning, and `:4`, which keeps file names out.
///
/// # Errors
/// Never.
pub fn candidates(out: &Out, words: &[String]) -> Outcome {
    let command = Cli::command();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let chosen = before.iter().find_map(|word| command.find_subcommand(word));
    let flags = || command.get_arguments().chain(chosen.into_iter().flat_map(Command::get_arguments));
    let expected = before.last().and_then(|word| flags().find(|flag| takes_value(flag, word)));
    let mut all: Vec<(String, String)> = match (chosen, expected) {
        (_, Some(flag)) => values(flag),
        (None, None) if !last.starts_with('-') => {
            command.get_subcommands().filter(|c| !c.is_hide_set()).map(subcommand).collect()
        }
        (Some(chosen), None) if !last.starts_with('-') => chosen.get_positionals().flat_map(values).collect(),
        _ => flags().filter_map(|f| Some((format!("--{}", f.get_long()?), about(f.get_help())))).collect(),
    };
    all.retain(|(word, _)| word.starts_with(last));
    for (word, meaning) in all {
        out.line(&format!("{word}\t{meaning}"));
    }
    out.line(":4");
    Ok(Exit::Done)
}

fn takes_value(flag: &Arg, word: &str) -> bool {
    let named = flag.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
        || flag.get_short().is_some_and(|short| word == format!("-{short}"));
    named && flag.get_action().takes_values()
}

fn values(argument: &Arg) -> Vec<(String, String)> {
    let shown = argument.get_possible_values().into_iter().filter(|v| !v.is_hide_set());
    shown.map(|v| (v.get_name().to_owned(), about(v.get_help()))).collect()
}

fn subcommand(command: &Command) -> (String, String) {
    (command.get_name().to_owned(), about(command.get_about()))
}

fn about(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}
