//! The command line as people see it.

use clap::{Command, CommandFactory, Parser};

use super::cli::Cli;
use super::exit::Exit;

/// Every command with its own, by its path.
fn all(command: &Command, path: &str) -> Vec<(String, Command)> {
    let mut found = vec![(path.to_owned(), command.clone())];
    for sub in command.get_subcommands() {
        found.extend(all(sub, &format!("{path} {}", sub.get_name())));
    }
    found
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_reads_well_at_80_columns() {
    let mut root = Cli::command();
    root.build();
    let commands = all(&root, "kubectl securebucket");
    assert!(commands.len() > 13);
    for (path, mut command) in commands {
        for text in [command.render_help().to_string(), command.render_long_help().to_string()] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{path}: {} columns: {line}", line.chars().count());
            }
        }
    }
}

#[test]
fn usage_names_the_command_that_people_type() {
    let error = Cli::try_parse_from(["kubectl-securebucket", "approve"]).unwrap_err();
    assert!(error.to_string().contains("Usage: kubectl securebucket approve"), "{error}");
    assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()));
}

#[test]
fn exit_codes_are_documented() {
    let help = Cli::command().render_help().to_string();
    let page = include_str!("../../docs/plugin.md");
    for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::No, Exit::Ended, Exit::TimedOut, Exit::Interrupted] {
        assert!(help.contains(&format!("{} ", exit.code())), "{exit:?} is not in --help");
        assert!(page.contains(&format!("| {} |", exit.code())), "{exit:?} is not in docs/plugin.md");
    }
}

#[test]
fn a_form_that_a_command_does_not_have_is_refused() {
    let form = |line: &str| {
        let words = ["kubectl-securebucket"].into_iter().chain(line.split(' '));
        Cli::try_parse_from(words).unwrap().form().map_err(|f| (f.exit, f.message))
    };
    for line in
        ["list -o wide", "list -o name", "who-can b -o wide", "why g -o json", "approve g -o name", "doctor -o yaml"]
    {
        assert!(form(line).unwrap().is_some(), "{line}");
    }
    assert_eq!(form("why g"), Ok(None));
    for line in [
        "who-can b -o name",
        "why g -o wide",
        "can-i request b -o name",
        "role-arn sa -o wide",
        "approve g -o wide",
        "completion bash -o json",
    ] {
        let (exit, message) = form(line).unwrap_err();
        assert_eq!(exit, Exit::Usage, "{line}");
        assert!(message.starts_with("-o ") && message.contains("it has "), "{line}: {message}");
    }
}

#[test]
fn kubectls_own_flags_stand_where_people_put_them() {
    for line in [
        "approve g -n analytics --context c --as bob --as-group owners --dry-run=server -o yaml",
        "-n analytics approve g --wait --timeout 1h",
        "list -A -o wide",
        "lift call-logs --id 7f3a",
        "can-i lift call-logs",
        "request b --for-service-account n/s --prefix a/ --prefix b/ --duration 2h --reason why",
    ] {
        let words = std::iter::once("kubectl-securebucket").chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
    for line in
        ["list -A -n x", "approve g --as-group owners", "approve g --dry-run=client", "list -o table", "approve ns/g"]
    {
        let words = std::iter::once("kubectl-securebucket").chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}
