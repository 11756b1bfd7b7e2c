//! Identifiers that were spoken in words, written as code again.
