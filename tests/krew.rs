//! What Krew would install is the plugin: its name, its version, and a program that runs.

#![cfg(feature = "plugin")]
#![allow(clippy::unwrap_used, reason = "test code; helpers are outside #[test] functions")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

#[test]
fn the_manifest_is_of_this_plugin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let mut pack = Command::new(root.join("krew/pack"));
    pack.arg("--binary").arg(env!("CARGO_BIN_EXE_kubectl-securebucket")).arg("--out").arg(out.path());
    let packed = pack.output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let text = std::fs::read_to_string(out.path().join("securebucket.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], concat!("v", env!("CARGO_PKG_VERSION")));
    let platform = &spec["platforms"][0];
    // kubectl runs `kubectl-<name of the plugin>`.
    assert_eq!(platform["bin"], format!("kubectl-{}", manifest["metadata"]["name"].as_str().unwrap()));
    assert!(spec["shortDescription"].as_str().unwrap().len() <= 50, "Krew shows no more");
    for word in ["VERSION", "HOMEPAGE", "URI", "SHA256", "OS", "ARCH"] {
        assert!(!text.contains(&format!(": {word}\n")), "{word} is not filled in");
    }

    let archive = platform["uri"].as_str().unwrap().strip_prefix("file://").unwrap();
    let digest: String = Sha256::digest(std::fs::read(archive).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(platform["sha256"], digest);
    let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(out.path()).status().unwrap();
    assert!(unpacked.success());
    for file in platform["files"].as_array().unwrap() {
        assert!(out.path().join(file["from"].as_str().unwrap()).is_file(), "{file}");
    }
    let said = Command::new(out.path().join(platform["bin"].as_str().unwrap())).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8(said.stdout).unwrap(),
        concat!("kubectl-securebucket ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
