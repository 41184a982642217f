//! A workload that reads all the time: what it can read, and when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::error::ProvideErrorMetadata;
use jiff::Timestamp;
use securebucket::clock::Clock;
use tokio::task::JoinHandle;

use super::journal::now;
use crate::support::account::{AUDIENCE, REGION, anonymous_sts};
use crate::support::wait::poll;
use crate::support::{AwsClients, Stack, World};

const PAUSE: Duration = Duration::from_millis(300);

/// One attempt to read.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When it was sent.
    pub sent: Timestamp,
    /// When it was answered.
    pub answered: Timestamp,
    /// The content came.
    pub allowed: bool,
}

/// The workload. Stops when dropped.
pub struct Prober {
    probes: Arc<Mutex<Vec<Probe>>>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Starts reading `key` of `bucket` as a ServiceAccount, whose role need not exist yet.
    pub async fn start(world: &World, account: &str, bucket: &str, key: &str) -> Self {
        let probes: Arc<Mutex<Vec<Probe>>> = Arc::default();
        let reader = Reader {
            stack: world.stack,
            role: world.role_arn(account),
            token: world.token_for(account, AUDIENCE).await,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        let noted = Arc::clone(&probes);
        let task = tokio::spawn(async move {
            let mut session = None;
            loop {
                let probe = reader.read(&mut session).await;
                noted.lock().unwrap().push(probe);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { probes, task }
    }

    /// All attempts so far.
    pub fn probes(&self) -> Vec<Probe> {
        self.probes.lock().unwrap().clone()
    }

    /// Waits for an attempt that is sent from now on and ends like this.
    pub async fn until(&self, allowed: bool) {
        let from = now();
        let fits = |p: &Probe| p.sent >= from && p.allowed == allowed;
        let found = poll(|| async { self.probes().iter().any(fits).then_some(()) }).await;
        assert!(
            found.is_some(),
            "reading is not {}: {:?}",
            if allowed { "allowed" } else { "refused" },
            self.probes().last()
        );
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    stack: &'static Stack,
    role: String,
    token: String,
    bucket: String,
    key: String,
}

impl Reader {
    async fn read(&self, session: &mut Option<AwsClients>) -> Probe {
        let sent = now();
        let answer = self.attempt(session).await;
        if answer.as_ref().is_err_and(|code| code != "AccessDenied") {
            // The role is gone, and the session with it.
            *session = None;
        }
        Probe { sent, answered: now(), allowed: answer.is_ok() }
    }

    async fn attempt(&self, session: &mut Option<AwsClients>) -> Result<(), String> {
        if session.is_none() {
            *session = Some(self.assume().await?);
        }
        let Some(clients) = session else { return Err("no session".into()) };
        let got = clients.s3.get_object().bucket(&self.bucket).key(&self.key).send().await;
        got.map(drop).map_err(|e| e.code().unwrap_or("no code").to_owned())
    }

    async fn assume(&self) -> Result<AwsClients, String> {
        let request = anonymous_sts(self.stack).assume_role_with_web_identity();
        let request = request.role_arn(&self.role).role_session_name("prober").web_identity_token(&self.token);
        let answer = request.send().await.map_err(|e| format!("assuming: {}", e.code().unwrap_or("no code")))?;
        let c = answer.credentials.ok_or("no credentials")?;
        let credentials = Credentials::new(c.access_key_id, c.secret_access_key, Some(c.session_token), None, "prober");
        Ok(AwsClients::new(self.stack, credentials, REGION, &Clock::new()))
    }
}

/// S1 as the workload sees it: it reads only between the first KMS grant and the end, whichever end came first.
///
/// `opened` is when the first CreateGrant was sent, `closed` the grant's end by date or by proof.
pub fn outside_of_window(probes: &[Probe], opened: Option<Timestamp>, closed: Option<Timestamp>) -> Vec<String> {
    let early = |p: &&Probe| opened.is_none_or(|at| p.answered < at);
    let late = |p: &&Probe| closed.is_some_and(|at| p.sent >= at);
    let wrong = probes.iter().filter(|p| p.allowed).filter(|p| early(p) || late(p));
    wrong.map(|p| format!("S1: read at {}, outside of {opened:?}..{closed:?}", p.sent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_judged_by_the_window() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let probe = |s, allowed| Probe { sent: at(s), answered: at(s + 1), allowed };
        let probes = [probe(0, false), probe(10, true), probe(20, false)];
        assert!(outside_of_window(&probes, Some(at(5)), Some(at(20))).is_empty());
        assert_eq!(outside_of_window(&probes, Some(at(5)), Some(at(10))).len(), 1, "after the end");
        assert_eq!(outside_of_window(&probes, Some(at(12)), None).len(), 1, "before the grant");
        assert_eq!(outside_of_window(&probes, None, None).len(), 1, "without a grant");
    }
}
