//! The microphone: what is played into it is heard, and what is wrong with it is said.

mod conversation;
mod dashboard;
mod library;
mod microphone;
mod recogniser;
mod record;
