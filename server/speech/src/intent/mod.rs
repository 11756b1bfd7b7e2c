//! From a sentence to what it wants.
