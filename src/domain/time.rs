//! Durations as people type them, instants as policies and status carry them, and jitter that is the same on every pass.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

/// AWS's clock and the API server's may differ from this machine's by this much before issuing stops.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A duration that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("duration {0:?} is not of the form 4h, 90m or 1h30m")]
pub struct InvalidDuration(pub String);

/// Reads `1h30m`, `15m`, `45s`: hours, minutes, seconds in this order, whole numbers.
///
/// # Errors
/// If the text has another form or is zero.
pub fn parse_duration(text: &str) -> Result<SignedDuration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(32).collect());
    let mut seconds: i64 = 0;
    let mut rest = text;
    for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, tail)) = rest.split_once(unit) {
            if number.is_empty() || number.len() > 6 || !number.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            seconds += number.parse::<i64>().map_err(|_| invalid())? * factor;
            rest = tail;
        }
    }
    if !rest.is_empty() || seconds == 0 {
        return Err(invalid());
    }
    Ok(SignedDuration::from_secs(seconds))
}

/// Writes a duration the way people type it: `1h30m`.
pub fn format_duration(duration: SignedDuration) -> String {
    let total = duration.as_secs().max(0);
    let (h, m, s) = (total / 3600, total / 60 % 60, total % 60);
    let mut text = String::new();
    for (value, unit) in [(h, 'h'), (m, 'm'), (s, 's')] {
        if value > 0 {
            text.push_str(&format!("{value}{unit}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Instant as `2026-11-24T12:04:31Z`: whole seconds, UTC. What `aws:CurrentTime` is compared with in policies, and what status shows.
pub fn format_instant(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

/// Reads an instant back from status or from a policy.
pub fn parse_instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `at + duration`, at the end of time if that is out of range.
pub fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// `period` stretched by 0–10 %, by an amount that depends on `seed` alone. Re-drawn jitter can postpone for ever; this cannot.
pub fn jittered(period: std::time::Duration, seed: &str) -> std::time::Duration {
    let digest = Sha256::digest(seed.as_bytes());
    let share = f64::from(digest.first().copied().unwrap_or_default()) / 255.0;
    period.mul_f64(1.0 + share / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, seconds) in [("4h", 14_400), ("15m", 900), ("1h30m", 5_400), ("45s", 45), ("90m", 5_400)] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "0s", "0h", "h", "4", "-4h", "4d", "1m1h", "1h 1m", "1.5h", "9999999s", "٤h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(format_duration(SignedDuration::from_secs(5_400)), "1h30m");
        assert_eq!(format_duration(SignedDuration::ZERO), "0s");
    }

    #[test]
    fn instants_are_whole_seconds() {
        let at: Timestamp = "2026-11-24T12:04:31.987Z".parse().unwrap();
        assert_eq!(format_instant(at), "2026-11-24T12:04:31Z");
        assert_eq!(parse_instant("2026-11-24T12:04:31Z").unwrap().as_second(), at.as_second());
        assert_eq!(parse_instant("tomorrow"), None);
    }

    #[test]
    fn jitter_is_bounded_and_steady() {
        let period = std::time::Duration::from_secs(600);
        for seed in ["a", "b", "c"] {
            let d = jittered(period, seed);
            assert!(d >= period && d <= period.mul_f64(1.1));
            assert_eq!(d, jittered(period, seed));
        }
    }
}
