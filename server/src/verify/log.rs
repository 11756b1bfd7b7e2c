//! What one task's events say about each other. Pure: it is fed the events in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use cadence_protocol::{EventData, TaskStatus};

/// Reads one task's log.
#[derive(Debug, Default)]
pub struct Log {
    pub last_seq: u64,
    attempt: u32,
    status: Option<TaskStatus>,
    /// Approvals that wait, with the attempt that asked.
    pub open: BTreeMap<String, u32>,
    /// How often each attempt ended.
    ends: BTreeMap<u32, u32>,
    pub faults: Vec<(&'static str, String)>,
}

impl Log {
    /// Takes in the next event.
    pub fn read(&mut self, seq: u64, attempt: u32, data: &EventData) {
        if seq != self.last_seq + 1 {
            self.fault("events are gap-free", format!("event {seq} follows event {}", self.last_seq));
        }
        self.last_seq = seq;
        if attempt < self.attempt {
            self.fault(
                "events are in order",
                format!("event {seq} of attempt {attempt} follows attempt {}", self.attempt),
            );
        }
        self.attempt = attempt;
        match data {
            EventData::StatusChanged { from, to, .. } => {
                let was = self.status.unwrap_or(TaskStatus::Pending);
                if *from != was || from == to {
                    self.fault("statuses are a chain", format!("event {seq} changes {from} to {to}, and it was {was}"));
                }
                self.status = Some(*to);
            }
            EventData::TaskCompleted { .. } => {
                let ends = self.ends.entry(attempt).or_default();
                *ends += 1;
                if *ends > 1 {
                    let detail = format!("event {seq} ends attempt {attempt} again");
                    self.fault("an attempt ends once", detail);
                }
                for (id, _) in std::mem::take(&mut self.open) {
                    self.fault("what waits is withdrawn at the end", format!("{id} still waited at event {seq}"));
                }
            }
            EventData::ApprovalRequested { approval_id, .. } => {
                let fresh = self.open.insert(approval_id.clone(), attempt).is_none();
                self.promise(fresh, "an approval is asked once at a time", || {
                    format!("event {seq} asks {approval_id} again")
                });
            }
            EventData::ApprovalResolved { approval_id, .. } => {
                let open = self.open.remove(approval_id).is_some();
                self.promise(open, "an approval is resolved once", || {
                    format!("event {seq} resolves {approval_id} again")
                });
            }
            // People may write to an attempt that has just ended; the message begins the next one.
            EventData::Message { .. } => {}
            _ if self.ends.contains_key(&attempt) => {
                let detail = format!("event {seq} ({}) comes after the end of attempt {attempt}", data.kind());
                self.fault("nothing follows the end", detail);
            }
            _ => {}
        }
    }

    /// The status that the events lead to.
    pub fn status(&self) -> TaskStatus {
        self.status.unwrap_or(TaskStatus::Pending)
    }

    /// Compares the ends with the attempts that are over.
    pub fn check_ends(&mut self, over: &BTreeSet<u32>) {
        for attempt in over {
            if !self.ends.contains_key(attempt) {
                self.fault("an attempt ends once", format!("attempt {attempt} is over and no event says so"));
            }
        }
        for attempt in self.ends.keys().filter(|attempt| !over.contains(attempt)).copied().collect::<Vec<_>>() {
            self.fault("an attempt ends once", format!("attempt {attempt} is live, and an event ended it"));
        }
    }

    fn promise(&mut self, kept: bool, rule: &'static str, detail: impl FnOnce() -> String) {
        if !kept {
            self.fault(rule, detail());
        }
    }

    fn fault(&mut self, rule: &'static str, detail: String) {
        self.faults.push((rule, detail));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use cadence_protocol::{ApprovalKind, Decision, EndReason};

    use super::*;

    fn status(from: TaskStatus, to: TaskStatus) -> EventData {
        EventData::StatusChanged { from, to, reason: None }
    }

    fn completed() -> EventData {
        EventData::TaskCompleted {
            success: true,
            summary: String::new(),
            reason: EndReason::Done,
            pr_url: None,
            cost_usd: None,
        }
    }

    fn asked() -> EventData {
        let (approval_id, tool) = ("r1".into(), "Bash".into());
        EventData::ApprovalRequested {
            approval_id,
            kind: ApprovalKind::Permission,
            tool,
            input: serde_json::json!({}),
            suggestions: None,
        }
    }

    fn resolved() -> EventData {
        let (approval_id, by) = ("r1".into(), "server".into());
        EventData::ApprovalResolved { approval_id, decision: Decision::Allow, by, answer: None }
    }

    fn said() -> EventData {
        EventData::Output { text: "x".into() }
    }

    fn faults(events: &[(u64, u32, EventData)], over: &[u32]) -> Vec<String> {
        let mut log = Log::default();
        events.iter().for_each(|(seq, attempt, data)| log.read(*seq, *attempt, data));
        log.check_ends(&over.iter().copied().collect());
        log.faults.into_iter().map(|(rule, detail)| format!("{rule}: {detail}")).collect()
    }

    #[test]
    fn a_good_log_has_no_faults() {
        use TaskStatus::{Completed, Pending, Running};
        let events = [
            (1, 1, EventData::Message { text: "x".into(), from: "me".into() }),
            (2, 1, status(Pending, Running)),
            (3, 1, asked()),
            (4, 1, resolved()),
            (5, 1, asked()),
            (6, 1, resolved()),
            (7, 1, completed()),
            (8, 1, status(Running, Completed)),
            (9, 2, status(Completed, Pending)),
        ];
        assert_eq!(faults(&events, &[1]), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_found() {
        use TaskStatus::{Paused, Pending, Running};
        type Events = Vec<(u64, u32, EventData)>;
        let cases: [(&str, Events, &[u32]); 10] = [
            ("gap-free", vec![(1, 1, said()), (3, 1, said())], &[]),
            ("in order", vec![(1, 2, said()), (2, 1, said())], &[]),
            ("chain", vec![(1, 1, status(Paused, Running))], &[]),
            ("chain", vec![(1, 1, status(Pending, Pending))], &[]),
            ("ends attempt 1 again", vec![(1, 1, completed()), (2, 1, completed())], &[1]),
            ("still waited", vec![(1, 1, asked()), (2, 1, completed())], &[1]),
            ("asks r1 again", vec![(1, 1, asked()), (2, 1, asked())], &[]),
            ("resolves r1 again", vec![(1, 1, resolved())], &[]),
            ("after the end", vec![(1, 1, completed()), (2, 1, said())], &[1]),
            ("no event says so", vec![(1, 1, said())], &[1]),
        ];
        for (expected, events, over) in cases {
            let found = faults(&events, over);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        let found = faults(&[(1, 1, completed())], &[]);
        assert!(found[0].contains("is live, and an event ended it"), "{found:?}");
    }
}
