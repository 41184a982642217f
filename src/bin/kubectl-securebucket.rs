//! The kubectl plugin: `kubectl securebucket …`.

use std::process::ExitCode;

fn main() -> ExitCode {
    securebucket::plugin::main()
}
