//! One look for all who ask at the same time.

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last look, and when it was begun.
#[derive(Debug)]
pub struct Coalesced<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Coalesced<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Coalesced<T> {
    /// What a look found that was begun after this call: another's, or `look`. One that failed is for nobody else.
    ///
    /// # Errors
    /// Those of `look`.
    pub async fn get<E>(&self, look: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let asked = Instant::now();
        // Fair: whoever is next makes a look that is new enough for all who wait behind it.
        let mut last = self.0.lock().await;
        if let Some((_, found)) = last.as_ref().filter(|(begun, _)| *begun >= asked) {
            return Ok(found.clone());
        }
        let begun = Instant::now();
        let found = look.await?;
        *last = Some((begun, found.clone()));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_shares_the_next_look_and_never_one_that_was_under_way() {
        let (shared, looks) = (Coalesced::default(), AtomicUsize::new(0));
        let look = || async {
            let number = looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, ()>(number)
        };
        let later = |after| async move { tokio::time::sleep(Duration::from_millis(after)).await };
        let first = shared.get(look());
        let second = async {
            later(100).await;
            shared.get(look()).await
        };
        let third = async {
            later(200).await;
            shared.get(look()).await
        };
        assert_eq!(tokio::join!(first, second, third), (Ok(0), Ok(1), Ok(1)));
        assert_eq!(shared.get(look()).await, Ok(2), "what nobody waited for is old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_failed_is_for_nobody_else() {
        let shared = Coalesced::default();
        let fails = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err::<usize, _>("no")
        };
        let works = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            shared.get(async { Ok::<_, &str>(1) }).await
        };
        assert_eq!(tokio::join!(shared.get(fails), works), (Err("no"), Ok(1)));
    }
}
