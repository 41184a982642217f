//! Crash points, enumerated: every request of the operator, every kind of fault, and the same end all the same.
//!
//! A scenario is run once without faults, to learn its requests and the state that it ends in. Then it is run once for each request and each
//! [`plan::Kind`] that makes sense there, in a world of its own; the operator that dies is followed by one without faults. Each run must come
//! to the same state of both worlds ([`snapshot`]), break no law on the way ([`invariants`], [`prober`]), and let the workload read meanwhile.
//!
//! A run is repeated alone by `FAULT='A:kms CreateKey#1:KillAfterApplied'`, as the report of a failure prints it; `A:12:Delay` names the
//! twelfth request of the run without faults, `A:list` prints them, and a star stands for anything (`A:kms *:*`).
//! `FAULTS_LANES` says how many runs go side by side. Without `FAULTS` every thirteenth run is made. `FAULTS=main` makes all runs of scenarios A
//! and B, which is what `make test` does; `FAULTS=campaign` (`make faults`) all of all scenarios, and `FAULTS=all` also those of the kinds that a
//! campaign leaves out for reads (see [`plan::Kind::chosen_at`]). With `FAULTS_MINUTES` none is begun after that time but every thirteenth, and the
//! report says how many were not made.

mod campaign;
mod cause;
mod history;
mod invariants;
mod journal;
mod layers;
mod mask;
mod meta;
mod plan;
pub mod prober;
mod report;
mod requests;
mod run;
mod scenario;
mod snapshot;
