//! `kubectl securebucket` as people run it: the real binary, with a kubeconfig that makes it somebody.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::World;
use super::person::Person;

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl Said {
    /// Fails the test unless it ended with this code and said all of these words, on stdout or stderr.
    #[track_caller]
    pub fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.out.contains(word) || self.err.contains(word), "{word:?} is not in {self:#?}");
        }
        self
    }

    /// Done, with exactly this on stdout.
    #[track_caller]
    pub fn exactly(self, out: &str) -> Self {
        assert_eq!((self.code, self.out.as_str()), (0, out), "{self:#?}");
        self
    }

    /// Refused with these words, of which none is on stdout.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert!(self.out.is_empty() && self.err.contains("error: "), "{self:#?}");
        self.with(1, words)
    }
}

impl World {
    /// A shell for this person, in which `kubectl` and the plugin are commands, with an environment that has nothing of the caller's.
    pub fn shell(&self, person: &Person, namespace: &str, script: &str) -> Command {
        let tag = uuid::Uuid::new_v4().simple().to_string();
        let kubeconfig = self.directory().join(format!("kubeconfig-{tag}"));
        std::fs::write(&kubeconfig, person.kubeconfig(self.stack, namespace).to_string()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env_clear().env("KUBECONFIG", kubeconfig).env("HOME", self.directory());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.commands()).chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(paths).unwrap()).stdin(Stdio::null());
        shell
    }

    /// A directory with the stack's kubectl and the plugin.
    fn commands(&self) -> PathBuf {
        let directory = self.directory().join("bin");
        if std::fs::create_dir(&directory).is_ok() {
            std::os::unix::fs::symlink(&self.stack.tools.kubectl, directory.join("kubectl")).unwrap();
            let plugin = env!("CARGO_BIN_EXE_kubectl-securebucket");
            std::os::unix::fs::symlink(plugin, directory.join("kubectl-securebucket")).unwrap();
        }
        directory
    }

    /// Runs `kubectl-securebucket LINE` as this person, whose context is in the first namespace.
    pub fn plugin(&self, person: &Person, line: &str) -> Said {
        let line = format!("exec kubectl-securebucket {line}");
        Said::from(self.shell(person, &self.namespace, &line).output().unwrap())
    }
}

impl From<std::process::Output> for Said {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
