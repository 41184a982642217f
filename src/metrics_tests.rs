use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn error(kind: AwsErrorKind, code: Option<&str>, status: u16) -> AwsError {
    AwsError {
        call: Call::PutBucketPolicy,
        kind,
        code: code.map(str::to_owned),
        status,
        message: String::new(),
        resource: "b".into(),
    }
}

/// Metrics with every family in use.
fn all_used() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    let queue = metrics.queue("securebucket", 8);
    queue.depth(3);
    queue.started(1);
    for how in [Finished::Success, Finished::RequeueAfter, Finished::Error, Finished::Terminal, Finished::Panic] {
        queue.finished(how, Duration::from_millis(20), 0);
    }
    metrics.leader("securebucket", true);
    let took = Duration::from_millis(30);
    metrics.aws_call(Call::PutBucketPolicy, took, Ok(()));
    let denied = error(AwsErrorKind::AccessDenied, Some("AccessDenied"), 403);
    metrics.aws_call(Call::PutBucketPolicy, took, Err(&denied));
    metrics.aws_call(Call::PutBucketPolicy, took, Err(&error(AwsErrorKind::Throttled, None, 0)));
    metrics.drift_detected("bucketPolicy");
    metrics.drift_repaired("bucketPolicy");
    metrics.foreign_access(Kind::KmsGrant);
    metrics.foreign_kms_grants(2);
    metrics.event_dropped();
    metrics.grant_activated(SignedDuration::from_millis(1500));
    metrics.grant_removed(SignedDuration::from_millis(700));
    metrics.removals(2, SignedDuration::from_secs(90));
    metrics.clock_skew("aws", SignedDuration::from_millis(-1500));
    metrics
}

/// Kind and help of each family in the text.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::<String, (String, String)>::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        if let (Some("#"), Some(what), Some(name), rest) = (words.next(), words.next(), words.next(), words.next()) {
            let entry = families.entry(name.to_owned()).or_default();
            let rest = rest.unwrap_or_default().to_owned();
            match what {
                "TYPE" => entry.0 = rest,
                "HELP" => entry.1 = rest,
                _ => {}
            }
        }
    }
    families
}

#[test]
fn the_table_and_the_scrape_agree() {
    let text = all_used().encode();
    let mut scraped = families(&text);
    for described in TABLE {
        let stem = described.name.strip_suffix("_total").or(described.name.strip_suffix("_info"));
        let (kind, help) = scraped.remove(stem.unwrap_or(described.name)).unwrap_or_default();
        assert_eq!(kind, described.kind, "{}", described.name);
        assert_eq!(help, format!("{}.", described.help), "{}", described.name);
        let sample = match described.kind {
            "histogram" => format!("{}_count", described.name),
            _ => described.name.to_owned(),
        };
        let line = text.lines().find(|l| l.starts_with(&sample)).unwrap_or_else(|| panic!("no sample of {sample}"));
        let labels: BTreeSet<&str> = line
            .split_once('{')
            .map_or("", |(_, rest)| rest.split_once('}').unwrap().0)
            .split(',')
            .filter_map(|l| l.split_once('=').map(|(k, _)| k))
            .collect();
        assert_eq!(labels, described.labels.iter().copied().collect(), "{line}");
    }
    assert!(scraped.is_empty(), "not in the table: {scraped:?}");
}

#[test]
fn passes_are_counted_by_result() {
    let text = all_used().encode();
    for line in [
        r#"controller_runtime_reconcile_total{controller="securebucket",result="success"} 1"#,
        r#"controller_runtime_reconcile_total{controller="securebucket",result="requeue_after"} 1"#,
        r#"controller_runtime_reconcile_total{controller="securebucket",result="error"} 3"#,
        r#"controller_runtime_reconcile_errors_total{controller="securebucket"} 3"#,
        r#"controller_runtime_terminal_reconcile_errors_total{controller="securebucket"} 1"#,
        r#"controller_runtime_reconcile_panics_total{controller="securebucket"} 1"#,
        r#"controller_runtime_max_concurrent_reconciles{controller="securebucket"} 8"#,
        r#"workqueue_depth{name="securebucket"} 3"#,
        r#"leader_election_master_status{name="securebucket"} 1"#,
        r#"securebucket_aws_permission_errors_total{service="s3",operation="PutBucketPolicy"} 1"#,
        r#"securebucket_aws_throttled_total{service="s3",operation="PutBucketPolicy"} 1"#,
        r#"securebucket_build_info{version="1.2.3"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn counters_of_a_queue_start_at_zero() {
    let metrics = Metrics::new("1");
    let _ = metrics.queue("role", 1);
    let text = metrics.encode();
    assert!(text.contains(r#"controller_runtime_reconcile_panics_total{controller="role"} 0"#), "{text}");
    assert!(text.contains(r#"controller_runtime_reconcile_total{controller="role",result="error"} 0"#), "{text}");
}

#[test]
fn what_does_not_look_like_a_code_is_no_label() {
    let long = "x".repeat(65);
    for (code, label) in [
        (Some("InvalidBucketState"), "InvalidBucketState"),
        (Some("AWS.SimpleQueueService"), "AWS.SimpleQueueService"),
        (Some("<html>"), "AwsUnavailable"),
        (Some(long.as_str()), "AwsUnavailable"),
        (None, "AwsUnavailable"),
    ] {
        assert_eq!(error_code(&error(AwsErrorKind::Unavailable, code, 500)), label);
    }
}

#[test]
fn removals_and_skew_are_gauges_of_seconds() {
    let text = all_used().encode();
    for line in [
        "securebucket_grants_overdue 2",
        "securebucket_grants_overdue_oldest_seconds 90.0",
        "securebucket_clock_skew_seconds{against=\"aws\"} -1.5",
        "securebucket_grant_revocation_lag_seconds_bucket{le=\"1.0\"} 1",
        "securebucket_grant_activation_seconds_bucket{le=\"1.0\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}
