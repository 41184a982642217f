//! The API server, and whether it serves our kinds.

use super::Finding;
use crate::api::GROUP;
use crate::plugin::out::clean;
use crate::plugin::talk::{Session, answer};
use crate::plugin::whoami::Me;

/// How the finding begins that leaves nothing else to look at.
pub(super) const AWAY: &str = "API server cannot be reached";
/// Our resources, and the version in which they are served.
const RESOURCES: [&str; 3] = ["securebuckets", "decryptgrants", "grantreviews"];
const VERSION: &str = "v1alpha1";
/// The oldest Kubernetes that the chart takes: 1.33.
const OLDEST: (u32, u32) = (1, 33);

pub(super) async fn look(session: &Session) -> Vec<Finding> {
    let version = match answer(session.client.apiserver_version()).await {
        Ok(version) => version,
        Err(refusal) if refusal.code() == 0 => {
            let away = Finding::bad(format!("{AWAY}: {}", refusal.words()));
            return vec![away.remedy("kubectl cluster-info, or --context NAME")];
        }
        Err(refusal) => return vec![Finding::unread("API server version", &refusal), kinds(session).await],
    };
    let text = format!("API server {}.{}", version.major, version.minor);
    let server = if number(&version.major, &version.minor) >= OLDEST {
        Finding::good(text)
    } else {
        Finding::bad(format!("{text} is older than {}.{}", OLDEST.0, OLDEST.1)).remedy("a newer Kubernetes")
    };
    vec![server, kinds(session).await, me(session).await]
}

/// `1` and `33+` as numbers.
fn number(major: &str, minor: &str) -> (u32, u32) {
    let digits =
        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default();
    (digits(major), digits(minor))
}

async fn kinds(session: &Session) -> Finding {
    let served = answer(session.client.list_api_group_resources(&format!("{GROUP}/{VERSION}"))).await;
    let install = "helm upgrade, with crds.enabled=true; or securebucket crds | kubectl apply --server-side -f -";
    match served {
        Ok(list) => {
            let missing: Vec<&str> =
                RESOURCES.into_iter().filter(|wanted| list.resources.iter().all(|r| r.name != *wanted)).collect();
            if missing.is_empty() {
                return Finding::good(format!("CRDs {VERSION} served"));
            }
            Finding::bad(format!("CRDs are not served: {}", missing.join(", "))).remedy(install)
        }
        Err(refusal) if refusal.is_not_found() => {
            Finding::bad(format!("CRDs {GROUP}/{VERSION} are not served")).remedy(install)
        }
        Err(refusal) => Finding::unread("CRDs", &refusal),
    }
}

async fn me(session: &Session) -> Finding {
    match Me::ask(session).await {
        Ok(me) => {
            let eks = me.identity.session.as_ref().map(|s| format!(", session {s}")).unwrap_or_default();
            Finding::good(format!("you are {}{}", clean(&me.identity.username), clean(&eks)))
        }
        Err(failure) => Finding::bad(failure.message).remedy("kubectl auth whoami"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_vendors_are_read() {
        assert_eq!((number("1", "33+"), number("1", "9")), ((1, 33), (1, 9)));
    }
}
