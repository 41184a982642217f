//! Logs: JSON or text, to stderr, because stdout belongs to what the other subcommands print.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// A log that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "log level {0:?} is not one; write error, warn, info, debug or trace, or directives such as info,kube=debug"
    )]
    Level(String),
    /// Something else logs already.
    #[error("a log is set up already")]
    Twice,
}

/// Checks a level or a list of directives, in the form that `RUST_LOG` has elsewhere (which is not read here).
///
/// # Errors
/// If it is none.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    // A bare word that is no level would be taken for the name of a crate and silence everything else.
    let bare = |d: &str| !d.contains('=') && d.trim().parse::<tracing::level_filters::LevelFilter>().is_err();
    if level.trim().is_empty() || level.split(',').any(bare) {
        return Err(TelemetryError::Level(level.to_owned()));
    }
    let invalid = || TelemetryError::Level(level.to_owned());
    let filter = EnvFilter::try_new(level).map_err(|_| invalid())?;
    if level.trim() == "off" || level.contains(DECISIONS) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{DECISIONS}=info").parse().map_err(|_| invalid())?))
}

/// Target of the lines that say who was given or refused what. They are written at every level but `off`.
pub const DECISIONS: &str = "securebucket::decision";

/// Sets the log of the process up. Every line within a pass carries the fields of its spans (`object`, …).
///
/// # Errors
/// If the level is none, or something logs already.
pub fn init(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        for good in ["info", "WARN", "off", "info,kube=debug", "securebucket::role=trace,warn"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "verbose", "info,loud", "kube=loud"] {
            let error = filter(bad).unwrap_err().to_string();
            assert!(error.contains("error, warn, info"), "{error}");
        }
    }

    #[test]
    fn decisions_are_logged_whatever_the_level() {
        for (level, logged) in [("error", true), ("info,securebucket=warn", true), ("off", false)] {
            let text = filter(level).unwrap().to_string();
            assert_eq!(text.contains("securebucket::decision=info"), logged, "{text}");
        }
        assert!(!filter("info,securebucket::decision=off").unwrap().to_string().contains("decision=info"));
    }
}
