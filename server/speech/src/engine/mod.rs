//! Engines that make text of speech.
