//! The microphone: what is played into it is heard, and what is wrong with it is said.

mod completion;
mod conversation;
mod dashboard;
mod doctor;
mod hostile;
mod library;
mod microphone;
mod recogniser;
mod record;
mod spoken;
