//! Where the operator is, and as whom: asked of AWS before anything else.

use std::time::Duration;

use super::{AppError, Stage};
use crate::aws::clients::{Aws, Caller};
use crate::aws::error::AwsError;
use crate::aws::policies;
use crate::cli::RunConfig;
use crate::domain::arn::{Place, partition_and_account};
use crate::domain::installation::Installation;

/// Asks AWS who and where we are, until it answers, and checks that the setting is safe to work in.
pub(super) async fn installation(config: &RunConfig, aws: &Aws, stage: &Stage) -> Result<Installation, AppError> {
    let caller = patiently(stage, || aws.identify()).await;
    let Caller { account, arn } = caller;
    let partition = partition_and_account(&arn).map_or("aws", |(partition, _)| partition).to_owned();
    let place = Place { partition, account, region: config.aws.region.clone() };
    let role = config.aws.role_arn.clone().or_else(|| role_of_session(&place, &arn));
    let Some(role) = role else {
        return Err(AppError::Setup(format!(
            "AWS says that we are {arn}, which is no role: run under a role of your own, given by --aws-role-arn"
        )));
    };
    let install = config.installation(place, role);
    if install.operator_role.contains(&format!(":role{}", install.role_path())) {
        return Err(AppError::Setup(format!(
            "the operator's role {} lies under the path {} of the workload roles, so it could write itself: move it elsewhere",
            install.operator_role,
            install.role_path()
        )));
    }
    let iam = aws.iam();
    let found = patiently(stage, || iam.managed_policy(&install.boundary)).await;
    let wanted = policies::boundary(&install);
    if !found.same_as(&wanted) {
        return Err(AppError::Setup(format!(
            "the permissions boundary {} differs from what this version needs: put the output of `securebucket policy boundary --cluster {} --account {} --region {}` there",
            install.boundary, install.cluster, install.place.account, install.place.region
        )));
    }
    stage.say(None);
    Ok(install)
}

/// `arn:aws:sts::<account>:assumed-role/<name>/<session>` → the role, if it has no path of its own.
fn role_of_session(place: &Place, arn: &str) -> Option<String> {
    let name = arn.split(":assumed-role/").nth(1)?.split('/').next()?;
    Some(place.role("/", name))
}

/// Tries until it succeeds: AWS may be away at start, and a policy may come after us.
async fn patiently<T, F: Future<Output = Result<T, AwsError>>>(stage: &Stage, attempt: impl Fn() -> F) -> T {
    let mut pause = Duration::from_millis(500);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                tracing::warn!(%error, "cannot start yet");
                stage.say(Some(error.to_string()));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(30));
            }
        }
    }
}
