//! Tests of the adapters on wire-level answers.
