#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cadence_protocol::{Executor, Intent, PermissionMode, Task, TaskSourceKind, TaskStatus, VoiceCommand, WaitingFor};
use proptest::prelude::*;
use uuid::Uuid;

use super::{Context, EXACT, LONGEST, SURE, means_each, needs_confirmation, parse};

/// A task of the story, by the name that the tables give it.
pub(super) fn task(name: &str) -> Task {
    let (id, description, repo, status) = match name {
        "auth" => ("a1b2c3d4", "Refactor the auth middleware to use JWT", "web-app", TaskStatus::Running),
        "billing" => ("b7e81f02", "Add invoices to the billing page", "shop", TaskStatus::Paused),
        "docs" => ("3c9d0e5f", "Update the docs for the public API", "website", TaskStatus::Waiting),
        "search" => ("d4f6a8b0", "Speed up the search index", "shop", TaskStatus::Completed),
        "parser" => ("e5a7c9f1", "Make the parser handle nested comments", "lang", TaskStatus::Failed),
        "upload" => ("f0e1d2c3", "Resume an upload after the network fails", "web-app", TaskStatus::Running),
        other => panic!("no task {other}"),
    };
    Task {
        id: Uuid::parse_str(&format!("{id}-0000-4000-8000-000000000000")).unwrap(),
        user_id: Uuid::nil(),
        task_description: description.to_owned(),
        repo_url: Some(format!("https://git.example/acme/{repo}.git")),
        repo_name: repo.to_owned(),
        repo_path: None,
        branch: format!("cadence/{}-{id}", description.to_lowercase().replace(' ', "-")),
        base_branch: "main".to_owned(),
        base_commit: None,
        status,
        progress: 0,
        model: String::new(),
        agent: "claude".to_owned(),
        source: TaskSourceKind::Voice,
        executor: Executor::Local,
        labels: Vec::new(),
        permission_mode: PermissionMode::Ask,
        machine_id: None,
        sandbox: None,
        pending_reason: None,
        output: None,
        error: None,
        end_reason: None,
        metadata: cadence_protocol::TaskMetadata::default(),
        pr_url: None,
        pr_number: None,
        pr_state: None,
        attempt: 1,
        resume_at: None,
        waiting_for: (status == TaskStatus::Waiting).then_some(WaitingFor::Approval),
        last_seq: 1,
        created_at: cadence_protocol::Timestamp::UNIX_EPOCH,
        updated_at: cadence_protocol::Timestamp::UNIX_EPOCH,
        started_at: None,
        completed_at: None,
        archived_at: None,
    }
}

pub(super) fn tasks(names: &str) -> Vec<Task> {
    names.split_whitespace().filter(|name| *name != "none").map(task).collect()
}

fn said(text: &str, tasks: &[Task]) -> VoiceCommand {
    parse(text, text, &Context { tasks, ..Context::default() })
}

/// What is wrong with a command beside a row of the table, if anything is.
fn fault(command: &VoiceCommand, row: &[&str; 4], names: &BTreeMap<Uuid, String>) -> Option<String> {
    let [_, intent, target, rest] = row;
    let name = |id: &Uuid| names.get(id).map_or("nobody", String::as_str);
    let entities = &command.entities;
    let found = match (entities.agent_id, &command.candidates[..]) {
        (Some(id), _) => name(&id).to_owned(),
        (None, []) => "-".to_owned(),
        (None, ids) if means_each(command) => {
            format!("each {}", ids.iter().map(name).collect::<Vec<_>>().join(" "))
        }
        (None, ids) => ids.iter().map(name).collect::<Vec<_>>().join(","),
    };
    let told = entities.task_description.as_ref().or(entities.message.as_ref()).map_or("", String::as_str);
    let sure = command.confidence >= SURE;
    let wanted = intent.trim_end_matches(['!', '?']);
    let right = (wanted == "*" || wanted == command.intent.as_str())
        && (!intent.ends_with('!') || sure)
        && (!intent.ends_with('?') || !sure)
        && (*target == "*" || *target == found)
        && (rest.is_empty() || *rest == told);
    (!right).then(|| format!("{} | {:.2} {} | {found} | {told}", row.join(" | "), command.confidence, command.intent))
}

#[test]
fn people_are_understood_however_they_say_it() {
    let (mut there, mut current, mut rows) = (Vec::new(), None, 0);
    let mut names = BTreeMap::new();
    let mut faults = Vec::new();
    for line in include_str!("phrasings.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(setting) = line.strip_prefix("@ tasks ") {
            let (listed, selected) = setting.split_once(" current ").unwrap_or((setting, ""));
            there = tasks(listed);
            current = (!selected.is_empty()).then(|| task(selected).id);
            names = listed
                .split_whitespace()
                .filter(|name| *name != "none")
                .map(|name| (task(name).id, name.to_owned()))
                .collect();
            continue;
        }
        let row: Vec<&str> = line.split('|').map(str::trim).collect();
        let row: [&str; 4] = row.try_into().unwrap_or_else(|_| panic!("four columns: {line}"));
        let context = Context { tasks: &there, current, repositories: &[] };
        let command = parse(row[0], row[0], &context);
        faults.extend(fault(&command, &row, &names));
        rows += 1;
    }
    assert!(faults.is_empty(), "{} of {rows}:\n{}", faults.len(), faults.join("\n"));
    assert!(rows >= 400, "{rows}");
}

#[test]
fn where_and_with_what_is_read_and_stays_in_the_description() {
    let there = tasks("auth billing");
    let text = "could you fix the login bug on branch release/2.1 in the web app repo with opus";
    let command = said(text, &there);
    assert_eq!(command.intent, Intent::CreateAgent);
    let entities = command.entities;
    assert_eq!(entities.branch.as_deref(), Some("release/2.1"));
    assert_eq!(entities.model.as_deref(), Some("opus"));
    assert_eq!(entities.repo_url.as_deref(), Some("https://git.example/acme/web-app.git"));
    assert_eq!(entities.task_description.as_deref(), text.strip_prefix("could you "));
}

#[test]
fn work_is_destroyed_only_after_a_question_unless_it_is_named_exactly() {
    let there = tasks("auth billing docs");
    for exact in ["stop task one", "cancel a1b2c3d4", "stop the auth one", "kill the auth agent", "deny the docs one"] {
        assert!(!needs_confirmation(&said(exact, &there)), "{exact}");
    }
    for asked in ["stop the off one", "stop auth", "stop", "stop everything", "no", "stop the last one", "reject it"] {
        assert!(needs_confirmation(&said(asked, &there)), "{asked}");
    }
    for harmless in ["pause the off one", "resume billing", "status", "fix the login bug", "approve the docs one"] {
        assert!(!needs_confirmation(&said(harmless, &there)), "{harmless}");
    }
    for asked in ["pause everything", "hmm", "pause the foo one", "yes"] {
        assert!(needs_confirmation(&said(asked, &tasks("auth upload"))), "{asked}");
    }
    let nonsense = VoiceCommand { confidence: f64::NAN, ..said("status", &there) };
    assert!(needs_confirmation(&nonsense));
}

#[test]
fn two_that_are_called_so_are_both_candidates_the_current_one_first() {
    let mut there = tasks("auth upload billing");
    there[1].task_description = "Write tests for the auth middleware".to_owned();
    let command = said("pause the auth middleware one", &there);
    assert_eq!((command.entities.agent_id, command.candidates), (None, vec![there[0].id, there[1].id]));
    let context = Context { tasks: &there, current: Some(there[1].id), repositories: &[] };
    let command = parse("pause the auth middleware one", "", &context);
    assert_eq!(command.candidates, [there[1].id, there[0].id]);
    assert_eq!(said("pause the auth tests one", &there).entities.agent_id, Some(there[1].id));
}

#[test]
fn the_words_as_they_came_show_a_command_that_names_have_swallowed() {
    let there = tasks("auth");
    let command = parse("whats_running", "what's running", &Context { tasks: &there, ..Context::default() });
    assert_eq!(command.intent, Intent::ListAgents);
    assert_eq!((command.transcript.as_str(), command.raw_transcript.as_str()), ("whats_running", "what's running"));
}

#[test]
fn what_is_too_long_is_cut_between_characters() {
    let text = format!("fix the parser {}", "ü".repeat(LONGEST));
    let description = said(&text, &[]).entities.task_description.unwrap();
    assert!(description.len() <= LONGEST && text.starts_with(&description));
}

#[test]
fn certainty_is_ordered() {
    let there = tasks("auth billing docs");
    let confidence = |text: &str| said(text, &there).confidence;
    let falling =
        ["pause task one", "pause auth", "pause the off one", "pause everything", "pause", "pause the foo one"];
    let values: Vec<f64> = falling.iter().map(|text| confidence(text)).collect();
    assert!(values.windows(2).all(|pair| pair[0] > pair[1]), "{values:?}");
    assert!(values[0] >= EXACT && values[2] >= SURE && values[3] < SURE);
}

fn setting() -> impl Strategy<Value = (Vec<Task>, Option<Uuid>)> {
    let names = prop::sample::subsequence(vec!["auth", "billing", "docs", "search", "parser", "upload"], 0..=6);
    (names, any::<prop::sample::Index>()).prop_map(|(names, at)| {
        let there: Vec<Task> = names.into_iter().map(task).collect();
        let current = (!there.is_empty() && at.index(3) > 0).then(|| there[at.index(there.len())].id);
        (there, current)
    })
}

/// Words of the grammar among anything, so that the rules are entered.
fn speech() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "stop", "pause", "the", "auth", "one", "tell", "to", "also", "make", "it", "all", "except", "and", "task", "two", "a1b2",
            "yes", "no", "how", "is", "going", "please", "fix", "branch", "on", "with", "opus", "cadence", "what's", "doing", ",", "but",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => any::<String>(),
    ];
    prop::collection::vec(word, 0..30).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn nothing_that_is_said_does_harm(text in speech(), (there, current) in setting()) {
        let context = Context { tasks: &there, current, repositories: &[] };
        let command = parse(&text, &text, &context);
        prop_assert!((0.0..=1.0).contains(&command.confidence));
        let known = |id: &Uuid| there.iter().any(|task| task.id == *id);
        prop_assert!(command.entities.agent_id.iter().chain(&command.candidates).all(known));
        prop_assert!(command.entities.agent_id.is_none() || command.candidates.is_empty());
        // Whatever is handed on is somebody's own words.
        let told = command.entities.task_description.iter().chain(&command.entities.message);
        prop_assert!(told.into_iter().all(|told| text.contains(told.as_str())));
    }

    #[test]
    fn numbers_names_and_quotations_survive(
        number in 0u32..100_000,
        name in "[a-z]{3,8}_[A-Z][a-z]{2,8}",
        quote in "[a-zA-Z0-9 .,/-]{1,20}",
        opener in prop::sample::select(vec!["", "um, ", "hey cadence, could you please ", "okay so ", "I want you to "]),
    ) {
        let work = format!("change {name} from {number} to \"{quote}\" in src/{name}.rs");
        let command = said(&format!("{opener}{work}"), &[]);
        prop_assert_eq!(command.intent, Intent::CreateAgent);
        prop_assert_eq!(command.entities.task_description.as_deref(), Some(work.as_str()));
        let there = tasks("auth billing");
        let command = said(&format!("{opener}tell the auth one to {work}"), &there);
        prop_assert_eq!(command.intent, Intent::SendMessage);
        prop_assert_eq!(command.entities.agent_id, Some(there[0].id));
        prop_assert_eq!(command.entities.message.as_deref(), Some(work.as_str()));
    }
}
