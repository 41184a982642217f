//! Real commands: kubectl against the stack, and the operator's own binary.

use std::process::{Command, Output};

use super::World;

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Printed {
    /// True if it ended with 0.
    pub ok: bool,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl World {
    /// Runs kubectl as cluster-admin in the first namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Printed {
        let mut kubectl = Command::new(&self.stack.tools.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.stack.kube.kubeconfig).args(["--namespace", &self.namespace]);
        // What an earlier version of the CRDs was called must not be remembered.
        kubectl.arg("--cache-dir").arg(self.directory().join("kubectl"));
        kubectl.args(arguments).output().unwrap().into()
    }

    /// What kubectl prints; fails the test if it fails.
    pub fn kubectl_out(&self, arguments: &[&str]) -> String {
        let printed = self.kubectl(arguments);
        assert!(printed.ok, "kubectl {arguments:?}: {}", printed.err);
        printed.out
    }
}

/// The operator's binary, with an environment that has nothing of the caller's settings.
pub fn securebucket() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_securebucket"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
