//! What keys do.

use cadence_protocol::{ApprovalKind, Decide, DecisionRequest, Task, TaskStatus};
use tui_input::Input;
use uuid::Uuid;

use super::super::keymap::Action;
use super::super::message::{Act, Effect};
use super::super::state::{
    Compose, Confirm, Connection, EditInput, Focus, Mode, Overlay, Pane, Prompt, PromptKind, State, Tab, TaskForm,
};
use super::{open, open_selected, say, search, voice};
use crate::error::Exit;
use crate::follow::prompt;
use crate::text;

/// How long keys that answer are not heeded after something else came under them.
pub const GUARD: time::Duration = time::Duration::milliseconds(400);
/// Share of the list that one key moves the border by, in percent.
const STEP: u16 = 4;

pub fn action(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Help => show(state, Overlay::Help { top: 0 }),
        Action::Palette => show(state, Overlay::Palette { input: Input::default(), selected: 0 }),
        Action::New => new_task(state),
        Action::Inbox => inbox(state),
        Action::Voice => voice::open(state),
        Action::NextPane => other_half(state),
        Action::Zoom => {
            state.zoomed = !state.zoomed;
            if state.zoomed { enter(state) } else { Vec::new() }
        }
        Action::Narrower => resize(state, state.split.saturating_sub(STEP)),
        Action::Wider => resize(state, state.split + STEP),
        Action::Reconnect => {
            state.connection = Connection::Connecting;
            state.followed.clear();
            vec![Effect::Reconnect]
        }
        Action::Redraw => vec![Effect::Redraw],
        Action::Suspend => vec![Effect::Suspend],
        Action::Quit => {
            state.exit = Some(Exit::Done);
            vec![Effect::Save(state.saved()), Effect::Quit]
        }
        Action::Message
        | Action::Allow
        | Action::AllowAlways
        | Action::Deny
        | Action::EditFirst
        | Action::Pause
        | Action::Resume
        | Action::Cancel
        | Action::Restart
        | Action::Archive
        | Action::Apply
        | Action::OpenPullRequest
        | Action::OpenWorkspace
        | Action::Copy => task(state, action),
        Action::InboxDown | Action::InboxUp | Action::InboxOpen | Action::InboxClose => in_inbox(state, action),
        _ if state.focus == Focus::View => view(state, action),
        _ => list(state, action),
    }
}

fn show(state: &mut State, overlay: Overlay) -> Vec<Effect> {
    state.inbox = match &state.overlay {
        Some(Overlay::Inbox { selected, .. }) => Some(*selected),
        _ => None,
    };
    state.overlay = Some(overlay);
    Vec::new()
}

fn new_task(state: &mut State) -> Vec<Effect> {
    let form = state.drafts.task.take().unwrap_or_else(|| {
        // Another task where the last one is, unless the dashboard was opened in a repository.
        let of_task = || state.current().and_then(|task| task.repo_path.clone().or_else(|| task.repo_url.clone()));
        let place = state.place.clone().or_else(of_task);
        Box::new(TaskForm::new(place.unwrap_or_default()))
    });
    show(state, Overlay::New(form))
}

fn inbox(state: &mut State) -> Vec<Effect> {
    show(state, Overlay::Inbox { selected: 0, top: 0 });
    vec![state.ask_approvals()]
}

fn in_inbox(state: &mut State, action: Action) -> Vec<Effect> {
    let count = state.approvals.len();
    let Some(Overlay::Inbox { selected, top }) = &mut state.overlay else { return Vec::new() };
    match action {
        Action::InboxDown => (*selected, *top) = ((*selected + 1).min(count.saturating_sub(1)), 0),
        Action::InboxUp => (*selected, *top) = (selected.saturating_sub(1), 0),
        Action::InboxClose => state.overlay = None,
        _ => {
            let Some(id) = state.approvals.get(*selected).map(|approval| approval.task_id) else { return Vec::new() };
            state.overlay = None;
            return go_to(state, id);
        }
    }
    Vec::new()
}

/// Selects a task and opens it, wherever it is.
pub fn go_to(state: &mut State, id: Uuid) -> Vec<Effect> {
    if !state.list.reveal(id) {
        return say(state, "that task is not here any more");
    }
    enter(state)
}

fn enter(state: &mut State) -> Vec<Effect> {
    let effects = open_selected(state);
    if state.view.is_some() {
        state.focus = Focus::View;
    }
    effects
}

fn leave(state: &mut State) {
    state.focus = Focus::List;
    state.zoomed = false;
}

fn other_half(state: &mut State) -> Vec<Effect> {
    match state.focus {
        Focus::List => enter(state),
        Focus::View => {
            leave(state);
            Vec::new()
        }
    }
}

fn resize(state: &mut State, split: u16) -> Vec<Effect> {
    state.split = split.clamp(20, 80);
    Vec::new()
}

fn tab(state: &mut State, tab: Tab) -> Vec<Effect> {
    state.list.tab = tab;
    state.list.top = 0;
    state.list.arrange();
    Vec::new()
}

fn list(state: &mut State, action: Action) -> Vec<Effect> {
    let layout = state.layout();
    let page = isize::try_from(layout.list.height / layout.each.max(1)).unwrap_or(1).max(2) - 1;
    let turn = |tab: Tab, by: usize| {
        let now = Tab::ALL.iter().position(|other| *other == tab).unwrap_or(0);
        Tab::ALL[(now + by) % Tab::ALL.len()]
    };
    match action {
        Action::Down => state.list.step(1),
        Action::Up => state.list.step(-1),
        Action::PageDown => state.list.step(page),
        Action::PageUp => state.list.step(-page),
        Action::First => state.list.step(isize::MIN),
        Action::Last => state.list.step(isize::MAX),
        Action::Open => return enter(state),
        Action::Mark => {
            state.list.toggle_mark();
            state.list.step(1);
        }
        Action::MarkAll => state.list.toggle_all(),
        Action::Filter => {
            let input = Input::new(state.list.filter.clone());
            state.prompt = Some(Prompt { kind: PromptKind::Filter, input });
        }
        Action::Group => {
            state.list.grouped = !state.list.grouped;
            state.list.arrange();
        }
        Action::TabNext => return tab(state, turn(state.list.tab, 1)),
        Action::TabBefore => return tab(state, turn(state.list.tab, Tab::ALL.len() - 1)),
        Action::TabActive => return tab(state, Tab::Active),
        Action::TabReview => return tab(state, Tab::Review),
        Action::TabArchived => return tab(state, Tab::Archived),
        Action::Back => {
            if state.list.marked.is_empty() {
                state.list.filter.clear();
                state.list.arrange();
            }
            state.list.marked.clear();
            state.notice = None;
        }
        _ => {}
    }
    Vec::new()
}

fn pane(state: &mut State, pane: Pane) {
    let Some(view) = &mut state.view else { return };
    view.pane = pane;
    match pane {
        Pane::Transcript => view.transcript.set_mode(Mode::Readable),
        Pane::Events => view.transcript.set_mode(Mode::Raw),
        Pane::Diff | Pane::Facts => {}
    }
}

fn view(state: &mut State, action: Action) -> Vec<Effect> {
    let (width, height) = state.layout().body_size();
    let page = isize::try_from(height).unwrap_or(1).max(2) - 1;
    let Some(view) = &mut state.view else { return Vec::new() };
    let now = Pane::ALL.iter().position(|pane| *pane == view.pane).unwrap_or(0);
    let searching = view.search.as_ref().is_some_and(|search| !search.words.is_empty());
    match action {
        Action::Close if searching => view.search = None,
        Action::Close => leave(state),
        Action::LineDown => scroll(state, 1),
        Action::LineUp => scroll(state, -1),
        Action::ViewPageDown => scroll(state, page),
        Action::ViewPageUp => scroll(state, -page),
        Action::HalfDown => scroll(state, page / 2 + 1),
        Action::HalfUp => scroll(state, -(page / 2 + 1)),
        Action::Top => match view.pane {
            Pane::Transcript | Pane::Events => view.transcript.jump_to(1, width, height),
            _ => scroll(state, isize::MIN / 2),
        },
        Action::End => match view.pane {
            Pane::Transcript | Pane::Events => view.transcript.jump_to_end(),
            Pane::Diff => view.diff.jump_to_end(height),
            Pane::Facts => scroll(state, isize::MAX / 2),
        },
        Action::ItemNext if searching => return search::step(state, true),
        Action::ItemBefore if searching => return search::step(state, false),
        Action::ItemNext | Action::ItemBefore => {
            let forward = action == Action::ItemNext;
            match view.pane {
                Pane::Transcript | Pane::Events => view.transcript.move_mark(forward, width, height),
                Pane::Diff => view.diff.step(forward, height),
                Pane::Facts => {}
            }
        }
        Action::Toggle => match view.pane {
            Pane::Transcript | Pane::Events => match view.transcript.mark() {
                Some(seq) => view.transcript.toggle(seq, width, height),
                None => view.transcript.move_mark(false, width, height),
            },
            Pane::Diff => {
                let current = view.diff.current();
                view.diff.toggle(current, height);
            }
            Pane::Facts => {}
        },
        Action::ToggleAll if view.pane == Pane::Diff => view.diff.toggle_all(),
        Action::ToggleAll => view.transcript.toggle_all(),
        Action::Search => {
            let words = view.search.as_ref().map(|search| search.words.clone()).unwrap_or_default();
            state.prompt = Some(Prompt { kind: PromptKind::Search, input: Input::new(words) });
        }
        Action::PaneNext => pane(state, Pane::ALL[(now + 1) % Pane::ALL.len()]),
        Action::PaneBefore => pane(state, Pane::ALL[(now + Pane::ALL.len() - 1) % Pane::ALL.len()]),
        Action::PaneTranscript => pane(state, Pane::Transcript),
        Action::PaneDiff => pane(state, Pane::Diff),
        Action::PaneEvents => pane(state, Pane::Events),
        Action::PaneFacts => pane(state, Pane::Facts),
        _ => {}
    }
    Vec::new()
}

/// Scrolls whatever is shown of the open task.
pub fn scroll(state: &mut State, by: isize) {
    let (width, height) = state.layout().body_size();
    let Some(view) = &mut state.view else { return };
    match view.pane {
        Pane::Transcript | Pane::Events => view.transcript.scroll(by, width, height),
        Pane::Diff => view.diff.scroll(by, height),
        Pane::Facts => {
            let top = view.facts_top.saturating_add_signed(by);
            let most = super::super::view::fact_rows(state).saturating_sub(height);
            if let Some(view) = &mut state.view {
                view.facts_top = top.min(most);
            }
        }
    }
}

fn task(state: &mut State, action: Action) -> Vec<Effect> {
    let targets = state.targets();
    // One that is marked is meant, wherever the selection is.
    let meant = match targets.as_slice() {
        [one] => state.list.get(*one).map(|row| row.task.clone()),
        _ => state.current().cloned(),
    };
    let Some(current) = meant else { return say(state, "no task is selected") };
    match action {
        Action::Message => message(state, targets, &current),
        Action::Allow => allow(state, &current, DecisionRequest::Allow),
        Action::AllowAlways => allow(state, &current, DecisionRequest::AllowAlways),
        Action::Deny => match state.approval_of(current.id).cloned() {
            Some(approval) => show(state, Overlay::Answer(Box::new(prompt::Prompt::refusal(approval)))),
            None => nothing_waits(state),
        },
        Action::EditFirst => match state.approval_of(current.id).cloned() {
            Some(approval) if approval.kind == ApprovalKind::Question => allow(state, &current, DecisionRequest::Allow),
            Some(approval) => show(state, Overlay::Edit(Box::new(EditInput::new(approval)))),
            None => nothing_waits(state),
        },
        Action::Pause => act(state, Act::Pause, targets),
        Action::Resume => act(state, Act::Resume, targets),
        Action::Cancel => ask(state, Act::Cancel, targets, &current),
        Action::Restart => ask(state, Act::Restart, targets, &current),
        Action::Archive if current.archived_at.is_some() => act(state, Act::Unarchive, targets),
        Action::Archive => act(state, Act::Archive, targets),
        Action::Apply if !current.status.is_end() => {
            say(state, format!("it has not ended yet: it is {}", current.status))
        }
        Action::Apply => vec![Effect::Apply(current.id)],
        Action::OpenPullRequest => match current.pr_url.clone().or(current.metadata.pr_url) {
            Some(url) => vec![Effect::OpenUrl(url)],
            None => say(state, "the task has no pull request"),
        },
        Action::OpenWorkspace => vec![Effect::OpenWorkspace(Box::new(current))],
        Action::Copy => copy(state, &current),
        _ => Vec::new(),
    }
}

fn nothing_waits(state: &mut State) -> Vec<Effect> {
    say(state, "the task asks for nothing")
}

fn message(state: &mut State, targets: Vec<Uuid>, current: &Task) -> Vec<Effect> {
    let title = match targets.len() {
        0 | 1 => format!("to {}", text::clean_line(&current.title(60))),
        count => format!("to {count} tasks"),
    };
    let draft = match targets.as_slice() {
        [one] => state.drafts.messages.remove(one).unwrap_or_default(),
        _ => std::mem::take(&mut state.drafts.several),
    };
    show(state, Overlay::Message(Box::new(Compose::new(targets, title, &draft))))
}

fn allow(state: &mut State, current: &Task, decision: DecisionRequest) -> Vec<Effect> {
    let Some(approval) = state.approval_of(current.id).cloned() else { return nothing_waits(state) };
    if state.now < state.answers_from {
        return Vec::new();
    }
    let asked = prompt::Prompt::of(approval.clone());
    if let prompt::Prompt::Questions { .. } = asked {
        return show(state, Overlay::Answer(Box::new(asked)));
    }
    // What is not on the screen is shown before it is allowed.
    let (width, height) = state.layout().body_size();
    let open = state.view.as_ref().is_some_and(|view| {
        let here = view.id == current.id && view.pane == Pane::Transcript && width > 0;
        here && view.transcript.shows_request(&approval.id, width, height)
    });
    let alone = state.approvals.iter().filter(|other| other.task_id == current.id).count() == 1;
    let seen = matches!(state.overlay, Some(Overlay::Inbox { .. })) || (open && alone);
    if !seen {
        return show(state, Overlay::Answer(Box::new(asked)));
    }
    let decide = Decide { decision, updated_input: None, answers: None, message: None };
    decided(state, &approval.id);
    vec![Effect::Decide(Box::new(approval), Box::new(decide))]
}

/// What was answered waits no longer; where the server sees it otherwise it is there again.
pub fn decided(state: &mut State, id: &str) {
    state.approvals.retain(|approval| approval.id != id);
    // Of a key that is held down the next one is not meant.
    state.answers_from = state.now + GUARD;
}

fn act(state: &mut State, act: Act, targets: Vec<Uuid>) -> Vec<Effect> {
    // With several marked, those that it does not fit are passed over.
    let fitting = fitting(state, act, &targets);
    if fitting.is_empty() {
        let status = targets.first().and_then(|id| state.list.get(*id)).map(|row| row.task.status.to_string());
        let (verb, _) = act.words();
        return say(state, format!("a task that is {} cannot {verb}", status.unwrap_or_default()));
    }
    state.list.marked.clear();
    vec![Effect::Act(act, fitting)]
}

/// Those of the tasks that it can be done to.
fn fitting(state: &State, act: Act, targets: &[Uuid]) -> Vec<Uuid> {
    let fits = |task: &Task| match act {
        Act::Pause => matches!(task.status, TaskStatus::Running | TaskStatus::Waiting | TaskStatus::Pending),
        Act::Resume => task.status == TaskStatus::Paused,
        Act::Cancel => !task.status.is_end() || task.status == TaskStatus::PrOpen,
        Act::Restart => task.status.is_end(),
        Act::Archive => task.status.is_end() && task.archived_at.is_none(),
        Act::Unarchive => task.archived_at.is_some(),
    };
    targets.iter().copied().filter(|id| state.list.get(*id).is_some_and(|row| fits(&row.task))).collect()
}

/// Asks once before something is lost.
fn ask(state: &mut State, act: Act, targets: Vec<Uuid>, current: &Task) -> Vec<Effect> {
    let (verb, _) = act.words();
    let targets = match fitting(state, act, &targets) {
        none if none.is_empty() => return self::act(state, act, targets),
        some => some,
    };
    let what = match targets.len() {
        0 | 1 => format!("“{}”", text::clean_line(&current.title(48))),
        count => format!("{count} tasks"),
    };
    let question = match act {
        Act::Restart => format!("Begin {what} anew? Its session is left behind, its branch stays."),
        _ => format!("{}{} {what}? What was done stays on its branch.", verb[..1].to_uppercase(), &verb[1..]),
    };
    show(state, Overlay::Confirm(Confirm { question, act, tasks: targets }))
}

pub fn confirmed(state: &mut State, confirm: Confirm) -> Vec<Effect> {
    act(state, confirm.act, confirm.tasks)
}

fn copy(state: &mut State, current: &Task) -> Vec<Effect> {
    let marked = || {
        let view = state
            .view
            .as_ref()
            .filter(|view| state.focus == Focus::View && matches!(view.pane, Pane::Transcript | Pane::Events))?;
        view.transcript.text(view.transcript.mark()?)
    };
    let (text, what) = match marked() {
        Some(text) => (text, "the marked item".to_owned()),
        None => (current.branch.clone(), format!("the branch {}", text::clean_line(&current.branch))),
    };
    // A paste must not do what an agent wrote.
    let mut effects = say(state, format!("copied {what}"));
    effects.push(Effect::Copy(text::clean(&text)));
    effects
}

/// Opens a task that somebody spoke of.
pub fn show_task(state: &mut State, id: Uuid) -> Vec<Effect> {
    let mut effects = go_to(state, id);
    effects.extend(open(state, id));
    effects
}
