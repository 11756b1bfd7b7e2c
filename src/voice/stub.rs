//! What stands in for the microphone where the program is built without the feature `voice`.

use super::{Device, VoiceError};

/// See the one with a microphone.
///
/// # Errors
/// Always.
pub fn devices() -> Result<Vec<Device>, VoiceError> {
    Err(VoiceError::NotBuilt)
}

/// There is none of these.
pub enum Source {}

impl Source {
    pub fn open(_name: Option<&str>) -> Result<Self, VoiceError> {
        Err(VoiceError::NotBuilt)
    }

    pub fn device(&self) -> &str {
        match *self {}
    }

    pub fn rate(&self) -> u32 {
        match *self {}
    }

    pub fn read(&mut self, _into: &mut Vec<f32>) {
        match *self {}
    }

    pub fn lost(&self) -> Option<String> {
        match *self {}
    }

    pub fn tells_when_lost(&self) -> bool {
        match *self {}
    }

    pub fn dropped(&self) -> u64 {
        match *self {}
    }

    pub fn overruns(&self) -> u64 {
        match *self {}
    }

    pub fn close(self) {
        match self {}
    }
}
