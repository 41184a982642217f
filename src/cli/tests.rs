use clap::CommandFactory;
use std::time::Duration;

use super::*;

/// `run` with what is always needed and these flags; later ones win. Without the environment's say: each flag is given.
fn run(flags: &[&str]) -> Result<RunConfig, UsageError> {
    let base = [
        "securebucket",
        "run",
        "--cluster=c1",
        "--aws-region=eu-west-1",
        "--aws-role-arn=",
        "--aws-web-identity-token-file=",
        "--aws-endpoint-url=",
        "--oidc-issuer=https://oidc.example/id/A",
        "--lease-namespace=system",
        "--identity=pod-1",
    ];
    let given = |b: &&str| !flags.iter().any(|f| f.split('=').next() == b.split('=').next());
    let all = base.iter().copied().filter(given).chain(flags.iter().copied());
    match Cli::try_parse_from(all).unwrap().command {
        Command::Run(args) => args.resolve(),
        other => panic!("{other:?}"),
    }
}

fn policy(flags: &[&str]) -> Result<crate::domain::installation::Installation, UsageError> {
    let base = ["securebucket", "policy", "operator", "--cluster=c1", "--account=111122223333", "--region=eu-west-1"];
    let given = |b: &&str| !flags.iter().any(|f| f.split('=').next() == b.split('=').next());
    let all = base.iter().copied().filter(given).chain(flags.iter().copied());
    match Cli::try_parse_from(all).unwrap().command {
        Command::Policy(PolicyCommand::Operator(args)) => args.installation(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn verify_cli() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_of_run_has_a_variable() {
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    for arg in run.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
        assert!(arg.get_env().is_some(), "{}", arg.get_id());
    }
}

#[test]
fn defaults() {
    let config = run(&[]).unwrap();
    assert_eq!(config.bucket_prefix, "c1");
    assert_eq!(config.boundary_policy_name, "securebucket-c1-boundary");
    assert_eq!(config.timing, crate::domain::installation::Timing::default());
    assert_eq!(
        config.election,
        Some(Election {
            namespace: "system".into(),
            name: "securebucket-operator".into(),
            settings: Default::default()
        })
    );
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!((config.workers, config.log_level.as_str(), config.pin_federation), (8, "info", false));
    assert!(config.watch_namespaces.is_empty() && config.regions.is_empty());
    assert_eq!((config.aws.role_arn, config.aws.web_identity_token_file, config.aws.endpoint_url), (None, None, None));
}

#[test]
fn values_arrive() {
    let config = run(&[
        "--regions=eu-central-1,eu-north-1",
        "--bucket-prefix=acme-data",
        "--break-glass-role-arn=arn:aws:iam::111122223333:role/ops/BreakGlass",
        "--watch-namespaces=a,b,",
        "--policy-propagation=0",
        "--role-propagation=0s",
        "--evidence-wait=5s",
        "--grant-floor=1s",
        "--grant-ceiling=1h30m",
        "--leader-elect=false",
        "--pin-federation",
        "--no-aws-rate-limits",
        "--workers=2",
        "--log-format=text",
        "--fixed-session-roles=AROAX,AROAY",
    ])
    .unwrap();
    assert_eq!(config.regions, ["eu-central-1", "eu-north-1"]);
    assert_eq!(config.watch_namespaces, ["a", "b"]);
    assert_eq!(config.timing.policy_propagation, Duration::ZERO);
    assert_eq!(config.timing.role_propagation, Duration::ZERO);
    assert_eq!(config.timing.grant_ceiling, Duration::from_secs(5_400));
    assert_eq!(config.election, None);
    assert_eq!(config.prove_in.as_deref(), Some("system"));
    assert_eq!(run(&["--admission=Off"]).unwrap().prove_in, None);
    assert!(config.pin_federation);
    assert_eq!(config.aws.limits, crate::aws::limit::Limits::unlimited());
    let place = crate::domain::arn::Place {
        partition: "aws".into(),
        account: "111122223333".into(),
        region: config.aws.region.clone(),
    };
    let install = config.installation(place, "arn:aws:iam::111122223333:role/o".into());
    assert_eq!(install.boundary, "arn:aws:iam::111122223333:policy/securebucket-c1-boundary");
    assert_eq!(install.break_glass_role.as_deref(), Some("arn:aws:iam::111122223333:role/ops/BreakGlass"));
    assert_eq!(install.fixed_session_roles, ["AROAX", "AROAY"]);
}

#[test]
fn the_issuer_is_read_from_the_token() {
    use base64::Engine;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"iss":"https://oidc.example/id/B"}"#);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("e30.{payload}.c2ln")).unwrap();
    let token = format!("--aws-web-identity-token-file={}", file.path().display());
    let role = "--aws-role-arn=arn:aws:iam::111122223333:role/securebucket-operator";
    assert_eq!(run(&[role, &token, "--oidc-issuer="]).unwrap().oidc_issuer, "https://oidc.example/id/B");
    assert_eq!(run(&[role, &token]).unwrap().oidc_issuer, "https://oidc.example/id/A", "the flag wins");
    std::fs::write(file.path(), "secret-that-is-no-token").unwrap();
    let error = run(&[role, &token, "--oidc-issuer="]).unwrap_err().to_string();
    assert!(error.starts_with("--oidc-issuer: ") && !error.contains("secret-that"), "{error}");
}

#[test]
fn an_identity_is_made_up_where_none_is_given() {
    let (one, two) = (run(&["--identity="]).unwrap().identity, run(&["--identity="]).unwrap().identity);
    assert!(one.len() > 8 && one != two, "{one} {two}");
}

#[test]
fn complaints_name_the_flag_and_the_way_out() {
    let long = format!("--cluster={}", "c".repeat(33));
    let default_prefix = format!("--cluster={}", "c".repeat(21));
    let cases: &[(&[&str], &str, &str)] = &[
        (&["--cluster="], "--cluster", "lowercase"),
        (&["--cluster=Prod"], "--cluster", "lowercase"),
        (&["--cluster=a_b"], "--cluster", "lowercase"),
        (&["--cluster=a/b"], "--cluster", "lowercase"),
        (&["--cluster=-a"], "--cluster", "lowercase"),
        (&["--cluster=a-"], "--cluster", "lowercase"),
        (&["--cluster=ä"], "--cluster", "lowercase"),
        (&[&long], "--cluster", "32"),
        (&[&default_prefix], "--bucket-prefix", "default is the cluster"),
        (&["--bucket-prefix=A"], "--bucket-prefix", "lowercase"),
        (&["--bucket-prefix=a."], "--bucket-prefix", "lowercase"),
        (&["--bucket-prefix=xn--a"], "--bucket-prefix", "reserves"),
        (&["--bucket-prefix=sthree"], "--bucket-prefix", "reserves"),
        (&["--bucket-prefix=amzn-s3-demo"], "--bucket-prefix", "reserves"),
        (&["--aws-region=Europe"], "--aws-region", "eu-west-1"),
        (&["--aws-region=eu-west-1a"], "--aws-region", "eu-west-1"),
        (&["--aws-region="], "--aws-region", "eu-west-1"),
        (&["--regions=eu-west-2,x"], "--regions", "eu-west-1"),
        (&["--aws-role-arn=securebucket-operator"], "--aws-role-arn", "arn:aws:iam::"),
        (&["--aws-role-arn=arn:aws:iam::111122223333:role/o"], "--aws-role-arn", "--aws-web-identity-token-file"),
        (&["--aws-web-identity-token-file=/x"], "--aws-web-identity-token-file", "--aws-role-arn"),
        (&["--aws-endpoint-url=localhost:4566"], "--aws-endpoint-url", "leave it out"),
        (&["--break-glass-role-arn=arn:aws:iam::111122223333:user/x"], "--break-glass-role-arn", "role/name"),
        (&["--break-glass-role-arn=arn:aws:sts::111122223333:role/x"], "--break-glass-role-arn", "role/name"),
        (
            &["--break-glass-role-arn=arn:aws:iam::111122223333:role/securebucket/c1/x"],
            "--break-glass-role-arn",
            "another path",
        ),
        (&["--oidc-issuer="], "--oidc-issuer", "describe-cluster"),
        (&["--oidc-issuer=http://x"], "--oidc-issuer", "https"),
        (&["--oidc-issuer=https://x*"], "--oidc-issuer", "https"),
        (&["--boundary-policy-name=arn:aws:iam::1:policy/x"], "--boundary-policy-name", "name alone"),
        (&["--grant-floor=15"], "--grant-floor", "1h30m"),
        (&["--grant-floor=0s"], "--grant-floor", "1h30m"),
        (&["--grant-floor=5h", "--grant-ceiling=4h"], "--grant-floor", "--grant-ceiling"),
        (&["--grant-ceiling=721h"], "--grant-ceiling", "720h"),
        (&["--policy-propagation=soon"], "--policy-propagation", "1h30m"),
        (&["--role-propagation=1d"], "--role-propagation", "1h30m"),
        (&["--evidence-wait=-5s"], "--evidence-wait", "1h30m"),
        (&["--drift-check=0"], "--drift-check", "1h30m"),
        (&["--watch-namespaces=a b"], "--watch-namespaces", "commas"),
        (&["--lease-namespace="], "--lease-namespace", "--leader-elect=false"),
        (&["--leader-elect=false", "--lease-namespace="], "--lease-namespace", "--admission=Off"),
        (&["--lease-name="], "--lease-name", "default"),
        (&["--log-level=loud"], "--log-level", "debug"),
        (&["--workers=0"], "--workers", "at least 1"),
    ];
    for (flags, flag, way_out) in cases {
        let error = run(flags).expect_err(&format!("{flags:?}"));
        assert_eq!(error.flag, *flag, "{flags:?}: {error}");
        assert!(error.to_string().contains(way_out), "{flags:?}: {error}");
    }
}

#[test]
fn policies_need_no_running_installation() {
    let install = policy(&[]).unwrap();
    assert_eq!(install.operator_role, "arn:aws:iam::111122223333:role/securebucket-operator");
    assert_eq!(install.bucket_prefix, "c1");
    let install = policy(&["--operator-role-name=ops", "--partition=aws-cn", "--region=cn-north-1"]).unwrap();
    assert_eq!(install.operator_role, "arn:aws-cn:iam::111122223333:role/ops");
    assert_eq!(install.boundary, "arn:aws-cn:iam::111122223333:policy/securebucket-c1-boundary");
    let arn = "arn:aws:iam::111122223333:role/platform/ops";
    assert_eq!(policy(&[&format!("--operator-role-arn={arn}")]).unwrap().operator_role, arn);
    for (flag, value) in [
        ("--account", "1234"),
        ("--account", "11112222333x"),
        ("--partition", "gcp"),
        ("--region", "eu"),
        ("--operator-role-name", ""),
        ("--operator-role-arn", "arn:aws:iam::111122223333:role/securebucket/c1/x"),
    ] {
        let error = policy(&[&format!("{flag}={value}")]).expect_err(value);
        assert_eq!(error.flag, flag, "{error}");
    }
}
