//! What the demo agent does, as steps chosen by the words of its prompt. No I/O.
//!
//! In the scratch project of `cadence demo` the words `version`, `doc` or `readme`, `fix` or `fail`, and `test` choose a real
//! change. Anywhere else a line is added to `cadence-demo.md`. Before that, directives in the prompt are obeyed in order:
//!
//! | directive | what it does |
//! |---|---|
//! | `[[ask COMMAND]]` | asks for permission to run a command (`echo asked` unless told), in every mode |
//! | `[[question]]` | asks a question with two answers |
//! | `[[run COMMAND]]` | runs a command |
//! | `[[sleep SECONDS]]` | waits; can be interrupted |
//! | `[[output BYTES]]` | runs commands that print that much |
//! | `[[events N]]` | says N sentences, as fast as it can |
//! | `[[events N RATE]]` | says N sentences, RATE a second |
//! | `[[words N]]` | writes N words of a sentence that it never ends |
//! | `[[line BYTES]]` | says one sentence of that length |
//! | `[[noise BYTES]]` | prints lines that are not of its protocol, that many bytes in all |
//! | `[[stderr BYTES]]` | prints that much on standard error |
//! | `[[invalid-utf8]]` | says something that is no UTF-8 |
//! | `[[daemonize]]` | leaves a process in a session of its own behind, and prints its id |
//! | `[[spend USD]]` | claims to have spent that much, and keeps its budget |
//! | `[[overspend USD]]` | claims at once to have spent that much, and keeps no budget from then on |
//! | `[[tokens N]]` | claims to have used so many tokens, and tells no cost from then on |
//! | `[[limited SECONDS]]` | is refused by the model's service for its rate, until so many seconds have passed |
//! | `[[fail]]` | fails |
//! | `[[hang]]` | never answers again |

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that the demo agent does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    Say(String),
    Run(String),
    Read(String),
    Replace {
        path: String,
        old: String,
        new: String,
    },
    Append {
        path: String,
        text: String,
    },
    Ask(String),
    Question,
    Sleep(Duration),
    Output(u64),
    /// How many, and how many a second where that is told.
    Events(u32, Option<f64>),
    Words(u32),
    Line(u64),
    Noise(u64),
    Stderr(u64),
    InvalidUtf8,
    Daemonize,
    Spend(f64),
    Overspend(f64),
    Tokens(u32),
    Limited(u32),
    Fail,
    Hang,
}

impl Step {
    /// What the step is called in the agent's list.
    pub fn title(&self) -> String {
        match self {
            Self::Say(_) | Self::Events(..) | Self::Words(_) | Self::Line(_) | Self::InvalidUtf8 => {
                "Tell about it".into()
            }
            Self::Run(command) | Self::Ask(command) => format!("Run `{command}`"),
            Self::Read(path) => format!("Read {path}"),
            Self::Replace { path, .. } | Self::Append { path, .. } => format!("Edit {path}"),
            Self::Question => "Ask which way to go".into(),
            Self::Output(_) | Self::Noise(_) | Self::Stderr(_) => "Print a lot".into(),
            Self::Daemonize => "Start a process that stays".into(),
            Self::Sleep(_)
            | Self::Spend(_)
            | Self::Overspend(_)
            | Self::Tokens(_)
            | Self::Limited(_)
            | Self::Fail
            | Self::Hang => "Do as told".into(),
        }
    }
}

/// A prompt understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What is said at the end, where there is something new to say.
    pub summary: Option<String>,
}

/// Plans the work. `scratch` tells whether the directory holds the scratch project.
pub fn plan(prompt: &str, scratch: bool) -> Plan {
    let (words, mut steps) = directives(prompt);
    let title = words.lines().map(str::trim).find(|line| !line.is_empty());
    let Some(title) = title else {
        return Plan { steps, summary: Some("I did as the directives said.".into()) };
    };
    if goes_on(title) {
        // What was said beside it.
        let rest = words.split_once(title).map_or("", |(_, rest)| rest).trim();
        let more = if rest.is_empty() { Plan { steps: Vec::new(), summary: None } } else { plan(rest, scratch) };
        steps.extend(more.steps);
        return Plan { steps, summary: more.summary };
    }
    let (work, summary) = if scratch { scratch_work(&words) } else { None }.unwrap_or_else(|| note(title));
    steps.extend(work);
    Plan { steps, summary: Some(summary) }
}

/// Whether a message asks for nothing but to go on with what was interrupted.
fn goes_on(title: &str) -> bool {
    let title = title.to_lowercase();
    ["continue", "go on", "carry on", "resume", "you were interrupted"].iter().any(|words| title.starts_with(words))
}

/// Takes the directives out of a prompt. Those that are not known, or lack what they need, become a remark.
fn directives(prompt: &str) -> (String, Vec<Step>) {
    let mut words = String::new();
    let mut steps = Vec::new();
    let mut rest = prompt;
    while let Some((before, (inside, after))) =
        rest.split_once("[[").and_then(|(before, after)| Some((before, after.split_once("]]")?)))
    {
        words.push_str(before);
        steps.push(directive(inside.trim()));
        rest = after;
    }
    words.push_str(rest);
    (words, steps)
}

fn directive(text: &str) -> Step {
    let (name, argument) = text.split_once(char::is_whitespace).map_or((text, ""), |(name, rest)| (name, rest.trim()));
    let known = match (name, argument) {
        ("ask", "") => Some(Step::Ask("echo asked".into())),
        ("ask", command) => Some(Step::Ask(command.into())),
        ("run", command) if !command.is_empty() => Some(Step::Run(command.into())),
        ("question", _) => Some(Step::Question),
        ("sleep", seconds) => {
            seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(Step::Sleep)
        }
        ("output", bytes) => bytes.parse().ok().map(Step::Output),
        ("events", argument) => events(argument),
        ("words", count) => count.parse().ok().map(Step::Words),
        ("line", bytes) => bytes.parse().ok().map(Step::Line),
        ("noise", bytes) => bytes.parse().ok().map(Step::Noise),
        ("stderr", bytes) => bytes.parse().ok().map(Step::Stderr),
        ("invalid-utf8", _) => Some(Step::InvalidUtf8),
        ("daemonize", _) => Some(Step::Daemonize),
        ("spend", usd) => money(usd).map(Step::Spend),
        ("overspend", usd) => money(usd).map(Step::Overspend),
        ("tokens", count) => count.parse().ok().map(Step::Tokens),
        ("limited", seconds) => seconds.parse().ok().map(Step::Limited),
        ("fail", _) => Some(Step::Fail),
        ("hang", _) => Some(Step::Hang),
        _ => None,
    };
    known.unwrap_or_else(|| Step::Say(format!("I do not understand the directive `{text}`.")))
}

fn money(usd: &str) -> Option<f64> {
    usd.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd >= 0.0)
}

fn events(argument: &str) -> Option<Step> {
    let mut words = argument.split_whitespace();
    let count = words.next()?.parse().ok()?;
    let Some(rate) = words.next() else { return Some(Step::Events(count, None)) };
    let rate = rate.parse().ok().filter(|rate| (0.01..=100_000.0).contains(rate))?;
    Some(Step::Events(count, Some(rate)))
}

fn scratch_work(words: &str) -> Option<(Vec<Step>, String)> {
    let words = words.to_lowercase();
    let says = |candidates: &[&str]| candidates.iter().any(|word| words.contains(word));
    let run = |command: &str| Step::Run(command.to_owned());
    let say = |text: &str| Step::Say(text.to_owned());
    let read = |path: &str| Step::Read(path.to_owned());
    let replace =
        |path: &str, old: &str, new: &str| Step::Replace { path: path.into(), old: old.into(), new: new.into() };
    let (steps, summary) = if says(&["version"]) {
        let old = "*)\n    echo \"usage";
        let new = "--version) echo \"calc 1.0\" ;;\n*)\n    echo \"usage";
        let steps = vec![run("ls"), read("calc.sh"), replace("calc.sh", old, new), run("sh calc.sh --version")];
        (steps, "`calc.sh --version` prints the version now.")
    } else if says(&["doc", "readme"]) {
        let usage =
            "\n## Usage\n\n```sh\nsh calc.sh add 2 3   # 5\nsh calc.sh sub 3 2   # 1\nsh calc.sh mul 2 3   # 6\n```\n";
        let steps = vec![run("ls"), read("README.md"), Step::Append { path: "README.md".into(), text: usage.into() }];
        (steps, "The README shows how `calc.sh` is used.")
    } else if says(&["fix", "fail", "bug"]) {
        let steps = vec![
            run("ls"),
            run("sh test.sh"),
            read("calc.sh"),
            say("`add` subtracts. I'll make it add."),
            replace("calc.sh", "add() { echo $(($1 - $2)); }", "add() { echo $(($1 + $2)); }"),
            run("sh test.sh"),
        ];
        (steps, "`add` subtracted; it adds now, and all tests pass.")
    } else if says(&["test"]) {
        let steps = vec![
            run("ls"),
            read("test.sh"),
            replace("test.sh", "check 6 mul 2 3\n", "check 6 mul 2 3\ncheck 0 mul 0 3\ncheck 0 sub 2 2\n"),
            run("sh test.sh || true"),
        ];
        (steps, "There are two more tests.")
    } else {
        return None;
    };
    Some((steps, summary.to_owned()))
}

fn note(title: &str) -> (Vec<Step>, String) {
    let title: String = title.chars().filter(|c| !c.is_control()).take(200).collect();
    let text = format!("- A demo agent was asked: {title}\n");
    let steps = vec![Step::Run("ls".into()), Step::Append { path: "cadence-demo.md".into(), text }];
    (steps, "I noted the task in cadence-demo.md. A real agent would have done it.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_come_first_and_in_order() {
        let plan = plan("[[sleep 0.5]] do [[spend 2]]it\n[[nonsense]] [[output]]", false);
        assert_eq!(plan.steps[0], Step::Sleep(Duration::from_millis(500)));
        assert_eq!(plan.steps[1], Step::Spend(2.0));
        assert!(matches!(&plan.steps[2], Step::Say(text) if text.contains("nonsense")));
        assert!(matches!(&plan.steps[3], Step::Say(text) if text.contains("output")));
        let text = "- A demo agent was asked: do it\n".into();
        assert_eq!(plan.steps[5], Step::Append { path: "cadence-demo.md".into(), text });
    }

    #[test]
    fn events_may_be_told_how_fast_they_come() {
        assert_eq!(
            plan("[[events 3]][[events 4 0.5]]", true).steps,
            [Step::Events(3, None), Step::Events(4, Some(0.5))]
        );
        assert!(matches!(&plan("[[events 3 0]]", true).steps[..], [Step::Say(text)] if text.contains("events 3 0")));
    }

    #[test]
    fn directives_alone_are_all() {
        assert_eq!(plan(" [[fail]] ", true).steps, [Step::Fail]);
        assert_eq!(plan("[[run echo a  b]]", true).steps, [Step::Run("echo a  b".into())]);
        assert_eq!(plan("open [[ end", true).steps.len(), 2);
    }

    #[test]
    fn a_message_to_go_on_adds_nothing() {
        assert_eq!(plan("Continue where you left off.", true), Plan { steps: Vec::new(), summary: None });
        assert_eq!(plan("Go on.\n\nAdd tests", true), plan("Add tests", true));
    }

    #[test]
    fn words_choose_the_work() {
        let edited = |prompt: &str| {
            plan(prompt, true).steps.into_iter().find_map(|step| match step {
                Step::Replace { path, new, .. } => Some((path, new)),
                Step::Append { path, text } => Some((path, text)),
                _ => None,
            })
        };
        for (prompt, path, word) in [
            ("Fix the failing test", "calc.sh", "$1 + $2"),
            ("Write docs", "README.md", "Usage"),
            ("Add a --version flag", "calc.sh", "--version"),
            ("add tests", "test.sh", "check 0"),
            ("Something else", "cadence-demo.md", "Something else"),
        ] {
            let (file, text) = edited(prompt).unwrap_or_default();
            assert_eq!(file, path, "{prompt}");
            assert!(text.contains(word), "{prompt}: {text}");
        }
    }
}
