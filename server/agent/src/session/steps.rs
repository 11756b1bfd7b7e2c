//! The agent's own list of steps, from which its progress is told.

use std::collections::BTreeMap;

use cadence_protocol::EventData;
use serde_json::Value;

/// Most steps of a list that are counted.
const MAX_STEPS: usize = 1000;

/// The list, as an agent tells it whole, Claude's `TodoWrite` writes it whole, or its `TaskCreate` and `TaskUpdate` change
/// it step by step. A step is `pending`, `in_progress` or `completed`.
#[derive(Debug, Default)]
pub struct Steps {
    steps: BTreeMap<String, Step>,
    last: Option<(u8, Option<String>)>,
}

#[derive(Debug, Default)]
struct Step {
    status: String,
    subject: String,
    /// What it is called while it is done.
    active: Option<String>,
}

impl Steps {
    /// Takes in a call of a tool that succeeded. Gives the progress where it changed.
    pub fn apply(&mut self, tool: &str, input: &Value, result: &Value) -> Option<EventData> {
        match tool {
            "TodoWrite" => self.rewrite(input)?,
            "TaskCreate" => self.create(input, result)?,
            "TaskUpdate" => self.update(input)?,
            _ => return None,
        }
        self.progress()
    }

    /// Takes in a list that an agent tells whole: of each step its status and what it is called. Gives the
    /// progress where it changed.
    pub fn tell(&mut self, steps: impl IntoIterator<Item = (&'static str, String)>) -> Option<EventData> {
        let step = |(index, (status, subject)): (usize, (&str, String))| {
            (format!("{index:06}"), Step { status: status.to_owned(), subject, active: None })
        };
        self.steps = steps.into_iter().take(MAX_STEPS).enumerate().map(step).collect();
        self.progress()
    }

    fn rewrite(&mut self, input: &Value) -> Option<()> {
        let todos = input.get("todos")?.as_array()?;
        // Padded, so that the order stays.
        let steps = todos.iter().take(MAX_STEPS).enumerate().map(|(index, todo)| {
            let step = Step {
                status: text(todo, "status")?,
                subject: text(todo, "content")?,
                active: text(todo, "activeForm"),
            };
            Some((format!("{index:06}"), step))
        });
        self.steps = steps.collect::<Option<_>>()?;
        Some(())
    }

    fn create(&mut self, input: &Value, result: &Value) -> Option<()> {
        if self.steps.len() >= MAX_STEPS {
            return None;
        }
        let id = result.get("task")?.get("id")?;
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let step =
            Step { status: "pending".into(), subject: text(input, "subject")?, active: text(input, "activeForm") };
        self.steps.insert(id, step);
        Some(())
    }

    fn update(&mut self, input: &Value) -> Option<()> {
        let id = text(input, "taskId")?;
        let status = text(input, "status")?;
        if status == "deleted" {
            self.steps.remove(&id);
        } else {
            self.steps.get_mut(&id)?.status = status;
        }
        Some(())
    }

    fn progress(&mut self) -> Option<EventData> {
        let done = self.steps.values().filter(|step| step.status == "completed").count();
        let active = self.steps.values().find(|step| step.status == "in_progress");
        let note = active.map(|step| step.active.clone().unwrap_or_else(|| step.subject.clone()));
        // All steps done is not yet success: 100 is the server's to tell.
        let percent = (done * 100).checked_div(self.steps.len()).unwrap_or(0).min(99);
        let percent = u8::try_from(percent).unwrap_or(99);
        let now = (percent, note);
        if self.last.as_ref() == Some(&now) {
            return None;
        }
        self.last = Some(now.clone());
        Some(EventData::Progress { percent: now.0, note: now.1 })
    }
}

fn text(value: &Value, field: &str) -> Option<String> {
    Some(value.get(field)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn progress(percent: u8, note: Option<&str>) -> Option<EventData> {
        Some(EventData::Progress { percent, note: note.map(str::to_owned) })
    }

    #[test]
    fn a_list_written_whole() {
        let mut steps = Steps::default();
        let todo = |status| json!({"content": "Do", "status": status, "activeForm": "Doing"});
        let list = json!({"todos": [todo("completed"), todo("in_progress"), todo("pending"), todo("pending")]});
        assert_eq!(steps.apply("TodoWrite", &list, &Value::Null), progress(25, Some("Doing")));
        assert_eq!(steps.apply("TodoWrite", &list, &Value::Null), None);
        let done = json!({"todos": [todo("completed")]});
        assert_eq!(steps.apply("TodoWrite", &done, &Value::Null), progress(99, None));
        assert_eq!(steps.apply("TodoWrite", &json!({"todos": []}), &Value::Null), progress(0, None));
    }

    #[test]
    fn a_list_told_whole() {
        let mut steps = Steps::default();
        let list = |first, second| [(first, "one".to_owned()), (second, "two".to_owned())];
        assert_eq!(steps.tell(list("in_progress", "pending")), progress(0, Some("one")));
        assert_eq!(steps.tell(list("in_progress", "pending")), None);
        assert_eq!(steps.tell(list("completed", "in_progress")), progress(50, Some("two")));
        assert_eq!(steps.tell(list("completed", "completed")), progress(99, None));
        let many = std::iter::repeat_n(("pending", String::new()), 5 * MAX_STEPS);
        steps.tell(many);
        assert_eq!(steps.steps.len(), MAX_STEPS);
    }

    #[test]
    fn a_list_changed_step_by_step() {
        let mut steps = Steps::default();
        let made = |id| json!({"task": {"id": id}});
        assert_eq!(steps.apply("TaskCreate", &json!({"subject": "one"}), &made("1")), progress(0, None));
        assert_eq!(steps.apply("TaskCreate", &json!({"subject": "two"}), &made("2")), None);
        let update = |id: &str, status: &str| json!({"taskId": id, "status": status});
        assert_eq!(steps.apply("TaskUpdate", &update("1", "in_progress"), &Value::Null), progress(0, Some("one")));
        assert_eq!(steps.apply("TaskUpdate", &update("1", "completed"), &Value::Null), progress(50, None));
        assert_eq!(steps.apply("TaskUpdate", &update("2", "deleted"), &Value::Null), progress(99, None));
        assert_eq!(steps.apply("TaskUpdate", &update("9", "completed"), &Value::Null), None);
        assert_eq!(steps.apply("TaskCreate", &json!(7), &json!(null)), None);
    }
}
