//! Policies generated from the call table.
