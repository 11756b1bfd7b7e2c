//! What a daemon has reported of one attempt and the server has not acknowledged, on disk. Blocks.
//!
//! A directory for each lease: `claim.json`, `frames` (a line for each frame: its number, a space, its JSON), and
//! `outcome.json` once it is known how the attempt was left.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cadence_protocol::{AttemptEnd, Claim, Frame, Lease};
use serde::{Deserialize, Serialize};

/// What is sent at once, in bytes, unless one frame is larger.
const BATCH: usize = 256 * 1024;
/// What is sent and not acknowledged, in bytes, before no more is sent.
const WINDOW: u64 = 2 * 1024 * 1024;
/// A file of acknowledged frames is emptied when it is this large, in bytes.
const EMPTIED: u64 = 256 * 1024;

const CLAIM: &str = "claim.json";
const FRAMES: &str = "frames";
const OUTCOME: &str = "outcome.json";

/// How an attempt was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    End {
        end: AttemptEnd,
    },
    /// To be continued.
    Release,
}

/// Frames to send, as JSON, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub frames: Vec<String>,
    pub last: u64,
}

/// The spool of one lease.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    pub lease: Lease,
    file: File,
    /// Bytes of whole lines in the file.
    written: u64,
    /// Bytes that were sent on this connection, and those that are acknowledged.
    sent: u64,
    acked: u64,
    /// Number of the last frame that is acknowledged.
    acked_seq: u64,
    /// Number and end of each batch that is on its way.
    on_its_way: VecDeque<(u64, u64)>,
    outcome: Option<Outcome>,
    outcome_sent: bool,
}

impl Spool {
    /// Makes the spool of an attempt that was just taken. Durable on return.
    pub fn create(root: &Path, claim: &Claim) -> io::Result<Self> {
        let lease = claim.lease;
        let directory = root.join(name(&lease));
        let staged = root.join(format!(".{}", name(&lease)));
        remove(&staged)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&staged)?;
        write_whole(&staged.join(CLAIM), &serde_json::to_vec(&lease)?)?;
        let file = open(&staged.join(FRAMES))?;
        remove(&directory)?;
        fs::rename(&staged, &directory)?;
        File::open(root)?.sync_all()?;
        Ok(Self::new(directory, lease, file, 0, claim.last_source_seq, None))
    }

    /// Opens what an earlier daemon left. A line that it did not finish is cut off.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        let lease: Lease = serde_json::from_slice(&fs::read(directory.join(CLAIM))?)?;
        let mut file = open(&directory.join(FRAMES))?;
        let written = whole_lines(&mut file)?;
        file.set_len(written)?;
        let outcome = match fs::read(directory.join(OUTCOME)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::new(directory, lease, file, written, 0, outcome))
    }

    fn new(directory: PathBuf, lease: Lease, file: File, written: u64, acked: u64, outcome: Option<Outcome>) -> Self {
        Self {
            directory,
            lease,
            file,
            written,
            sent: 0,
            acked: 0,
            acked_seq: acked,
            on_its_way: VecDeque::new(),
            outcome,
            outcome_sent: false,
        }
    }

    /// All that earlier daemons left under `root`. What cannot be read is told and left where it is.
    pub fn all(root: &Path) -> io::Result<Vec<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                // Never became one.
                remove(&path)?;
                continue;
            }
            match Self::open(path.clone()) {
                Ok(spool) => found.push(spool),
                Err(error) => tracing::error!(%error, path = %path.display(), "a spool cannot be read"),
            }
        }
        Ok(found)
    }

    /// Keeps frames. Durable on return; on an error none of them is kept.
    pub fn append(&mut self, frames: &[Frame]) -> io::Result<()> {
        let mut lines = Vec::new();
        for frame in frames {
            write!(lines, "{} ", frame.source_seq)?;
            serde_json::to_writer(&mut lines, frame)?;
            lines.push(b'\n');
        }
        let kept = self.file.write_all_at(&lines, self.written).and_then(|()| self.file.sync_data());
        if kept.is_err() {
            let _ = self.file.set_len(self.written);
        }
        kept?;
        self.written += lines.len() as u64;
        Ok(())
    }

    /// Keeps how the attempt was left. Durable on return.
    pub fn leave(&mut self, outcome: Outcome) -> io::Result<()> {
        write_whole(&self.directory.join(OUTCOME), &serde_json::to_vec(&outcome)?)?;
        File::open(&self.directory)?.sync_all()?;
        self.outcome = Some(outcome);
        Ok(())
    }

    pub fn is_left(&self) -> bool {
        self.outcome.is_some()
    }

    /// Number of the last frame that is acknowledged.
    pub fn acked_seq(&self) -> u64 {
        self.acked_seq
    }

    /// A new connection: everything that is not acknowledged is sent again.
    pub fn rewind(&mut self) {
        self.sent = self.acked;
        self.on_its_way.clear();
        self.outcome_sent = false;
    }

    /// The next frames to send, where there are some and not too many are on their way.
    pub fn batch(&mut self) -> io::Result<Option<Batch>> {
        loop {
            if self.sent == self.written || self.sent - self.acked >= WINDOW {
                return Ok(None);
            }
            let text = self.lines()?;
            self.sent += text.len() as u64;
            let mut frames = Vec::new();
            let mut last = 0;
            for line in text.lines() {
                let Some((number, json)) = line.split_once(' ') else { continue };
                last = number.parse().map_err(io::Error::other)?;
                // What an earlier daemon left the server may have.
                if last > self.acked_seq {
                    frames.push(json.to_owned());
                }
            }
            if !frames.is_empty() {
                self.on_its_way.push_back((last, self.sent));
                return Ok(Some(Batch { frames, last }));
            }
            if self.on_its_way.is_empty() {
                self.acked = self.sent;
            }
        }
    }

    /// Whole lines from what is to be sent next, about [`BATCH`] bytes of them.
    fn lines(&self) -> io::Result<String> {
        let left = self.written - self.sent;
        let mut size = BATCH;
        loop {
            let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(size)];
            self.file.read_exact_at(&mut bytes, self.sent)?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
                return String::from_utf8(bytes).map_err(io::Error::other);
            }
            size *= 2;
        }
    }

    /// The outcome, when everything before it was sent; once for each connection.
    pub fn outcome(&mut self) -> Option<&Outcome> {
        if self.sent < self.written || self.outcome_sent {
            return None;
        }
        self.outcome_sent = self.outcome.is_some();
        self.outcome.as_ref()
    }

    /// Whether the attempt has ended, everything before that was sent, and the end was not.
    pub fn end_is_due(&self) -> bool {
        self.sent == self.written && !self.outcome_sent && matches!(self.outcome, Some(Outcome::End { .. }))
    }

    /// Where files for the attempt can be made.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server has every frame up to this number.
    pub fn ack(&mut self, seq: u64) {
        self.acked_seq = self.acked_seq.max(seq);
        while let Some((_, end)) = self.on_its_way.front().copied().filter(|(last, _)| *last <= seq) {
            self.acked = end;
            self.on_its_way.pop_front();
        }
        if self.acked == self.written && self.written >= EMPTIED && self.file.set_len(0).is_ok() {
            (self.written, self.sent, self.acked) = (0, 0, 0);
        }
    }

    /// Forgets it: the server has all, or does not want it.
    pub fn discard(&self) -> io::Result<()> {
        remove(&self.directory)
    }
}

fn name(lease: &Lease) -> String {
    format!("{}-{}-{}", lease.task_id.simple(), lease.attempt, lease.epoch)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Bytes up to the last line's end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let (mut at, mut whole) = (0u64, 0u64);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(whole);
        }
        if let Some(end) = buffer[..read].iter().rposition(|byte| *byte == b'\n') {
            whole = at + end as u64 + 1;
        }
        at += read as u64;
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cadence_protocol::{EndReason, EventData, FrameBody, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn lease() -> Lease {
        Lease { task_id: Uuid::nil(), attempt: 1, epoch: 1, ttl_secs: 30 }
    }

    fn spool(root: &Path) -> Spool {
        let directory = root.join("spool");
        fs::create_dir_all(&directory).unwrap();
        write_whole(&directory.join(CLAIM), &serde_json::to_vec(&lease()).unwrap()).unwrap();
        Spool::open(directory).unwrap()
    }

    fn frame(source_seq: u64, text: &str) -> Frame {
        let body = FrameBody::Event { event: EventData::Output { text: text.into() } };
        Frame { source_seq, timestamp: Timestamp::UNIX_EPOCH, body }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.frames.iter().map(|json| serde_json::from_str::<Frame>(json).unwrap().source_seq).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_after_a_break() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = spool(home.path());
        spool.append(&[frame(1, "a"), frame(2, "b")]).unwrap();
        assert_eq!(numbers(&spool.batch().unwrap().unwrap()), [1, 2]);
        spool.append(&[frame(3, "c")]).unwrap();
        assert_eq!(numbers(&spool.batch().unwrap().unwrap()), [3]);
        assert_eq!(spool.batch().unwrap(), None);
        spool.ack(2);
        spool.rewind();
        assert_eq!(numbers(&spool.batch().unwrap().unwrap()), [3]);
    }

    #[test]
    fn a_daemon_that_died_goes_on_with_what_it_kept() {
        let home = tempfile::tempdir().unwrap();
        let mut before = spool(home.path());
        before.append(&[frame(1, "a"), frame(2, "b")]).unwrap();
        let path = before.directory.join(FRAMES);
        drop(before);
        let whole = fs::read(&path).unwrap();
        // Killed in the middle of a line.
        fs::write(&path, [&whole[..], b"3 {\"sourceSe"].concat()).unwrap();
        let mut after = Spool::all(home.path()).unwrap().remove(0);
        assert_eq!(after.lease, lease());
        after.ack(1);
        assert_eq!(numbers(&after.batch().unwrap().unwrap()), [2]);
        assert!(after.outcome().is_none() && !after.is_left());
        after.leave(Outcome::Release).unwrap();
        assert_eq!(Spool::open(after.directory.clone()).unwrap().outcome, Some(Outcome::Release));
        after.discard().unwrap();
        assert!(Spool::all(home.path()).unwrap().is_empty());
    }

    #[test]
    fn the_end_comes_after_all_frames_and_once_for_each_connection() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = spool(home.path());
        spool.append(&[frame(1, "a")]).unwrap();
        spool.leave(Outcome::End { end: AttemptEnd::new(EndReason::Done, "done") }).unwrap();
        assert_eq!(spool.outcome(), None);
        spool.batch().unwrap().unwrap();
        assert!(matches!(spool.outcome(), Some(Outcome::End { .. })));
        assert_eq!(spool.outcome(), None);
        spool.rewind();
        assert_eq!(spool.outcome(), None, "the frame was not acknowledged");
        spool.batch().unwrap().unwrap();
        assert!(spool.outcome().is_some());
    }

    #[test]
    fn a_file_that_is_acknowledged_does_not_grow() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = spool(home.path());
        let text = "x".repeat(100_000);
        for seq in 1..=20 {
            spool.append(&[frame(seq, &text)]).unwrap();
            while let Some(batch) = spool.batch().unwrap() {
                spool.ack(batch.last);
            }
        }
        assert!(fs::metadata(spool.directory.join(FRAMES)).unwrap().len() < 2 * EMPTIED);
        // One line that is larger than what is sent at once comes whole.
        spool.append(&[frame(21, &"y".repeat(3 * BATCH))]).unwrap();
        assert_eq!(numbers(&spool.batch().unwrap().unwrap()), [21]);
    }

    proptest! {
        #[test]
        fn every_frame_arrives_in_order_whatever_breaks(steps in prop::collection::vec((0u8..5, 0usize..3000), 1..60)) {
            let home = tempfile::tempdir().unwrap();
            let mut spool = spool(home.path());
            let (mut next, mut had, mut waiting) = (1u64, 0u64, Vec::new());
            let take = |batch: Batch, had: &mut u64| {
                for seq in numbers(&batch) {
                    assert!(seq <= *had + 1, "{seq} came after {had}");
                    *had = (*had).max(seq);
                }
                batch.last
            };
            for (step, size) in steps {
                match step {
                    0 | 1 => { spool.append(&[frame(next, &"z".repeat(size))]).unwrap(); next += 1; }
                    2 => if let Some(batch) = spool.batch().unwrap() { waiting.push(take(batch, &mut had)); },
                    3 => if let Some(last) = waiting.pop() { spool.ack(last); },
                    _ => {
                        waiting.clear();
                        match size % 2 {
                            0 => spool.rewind(),
                            _ => { let path = spool.directory.clone(); spool = Spool::open(path).unwrap(); spool.ack(had); }
                        }
                    }
                }
            }
            spool.rewind();
            while let Some(batch) = spool.batch().unwrap() {
                let last = take(batch, &mut had);
                spool.ack(last);
            }
            prop_assert_eq!(had, next - 1);
        }
    }
}
