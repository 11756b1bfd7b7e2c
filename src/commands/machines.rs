//! `cadence machines`: the machines that run agents for the server.

use cadence_protocol::{Machine, MachineList};
use serde_json::json;
use time::OffsetDateTime;

use super::Context;
use crate::client::Rest;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, CYAN, DIM, GREEN, Line, PLAIN, YELLOW, table};
use crate::text::{age, clean_line, cut};

/// The machines that run agents: list them, look at them, drain and remove them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A machine is named by its name or the first digits of its id. `cadence daemon` makes one of a machine."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List machines
    #[command(visible_alias = "list", after_help = "Example:\n  cadence machines ls")]
    Ls,
    /// Show all that is known of a machine
    #[command(after_help = "Example:\n  cadence machines show build-box")]
    Show { machine: String },
    /// Give a machine no new tasks; what it runs goes on
    #[command(after_help = "Examples:\n  cadence machines drain build-box\n  cadence machines drain build-box --undo")]
    Drain {
        machine: String,
        /// Let it take tasks again
        #[arg(long)]
        undo: bool,
    },
    /// Forget a machine; its tasks go on elsewhere, from where they began
    #[command(
        visible_alias = "remove",
        after_help = "Examples:\n  cadence machines rm build-box\n  cadence machines rm --force 1a2b"
    )]
    Rm {
        machine: String,
        /// Also where it runs something: that is stopped
        #[arg(long)]
        force: bool,
    },
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    let rest = client.rest()?;
    match args.action {
        Action::Ls => {
            let list = rest.machines().await?;
            if context.json {
                context.terminal.json(&list)?;
            } else if list.machines.is_empty() {
                let words = "no machines; `cadence daemon` on a machine makes it one, with a token of `cadence tokens create --daemon`";
                context.terminal.note(&[Line::of(DIM, words)]);
            } else {
                context.terminal.print(&rows(&list, OffsetDateTime::now_utc(), context.terminal.columns()))?;
            }
        }
        Action::Show { machine } => {
            let machine = find(&rest, &machine).await?;
            report(&context, &machine, &facts(&machine, OffsetDateTime::now_utc()))?;
        }
        Action::Drain { machine, undo } => {
            let machine = find(&rest, &machine).await?;
            let machine = rest.drain(machine.id, !undo).await?;
            let words = match (undo, machine.running) {
                (true, _) => "takes tasks again".to_owned(),
                (false, 0) => "gets no new tasks, and runs none".to_owned(),
                (false, running) => format!("gets no new tasks; {running} still run on it"),
            };
            report(&context, &machine, &[Line::of(BOLD, clean_line(&machine.name)).add(PLAIN, format!(" {words}"))])?;
        }
        Action::Rm { machine, force } => {
            let machine = find(&rest, &machine).await?;
            rest.remove_machine(machine.id, force).await?;
            if context.json {
                context.terminal.json(&json!({ "removed": machine.id }))?;
            } else {
                context.terminal.print(&[Line::of(PLAIN, format!("{} is removed", clean_line(&machine.name)))])?;
            }
        }
    }
    Ok(Exit::Done)
}

fn report(context: &Context, machine: &Machine, lines: &[Line]) -> Result<(), CommandError> {
    if context.json { context.terminal.json(machine) } else { context.terminal.print(lines) }
}

/// The one machine that is meant.
async fn find(rest: &Rest, text: &str) -> Result<Machine, CommandError> {
    let list = rest.machines().await?;
    pick(text, list)
}

fn pick(text: &str, list: MachineList) -> Result<Machine, CommandError> {
    let bare = text.replace('-', "").to_ascii_lowercase();
    let by_id = |machine: &Machine| !bare.is_empty() && machine.id.simple().to_string().starts_with(&bare);
    let named = list.machines.iter().any(|machine| machine.name == text);
    let mut fitting: Vec<Machine> =
        list.machines.into_iter().filter(|machine| if named { machine.name == text } else { by_id(machine) }).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(CommandError::usage(format!("there is no machine `{}`", cut(&clean_line(text), 60)))
            .hint("`cadence machines ls` shows them.")),
        count => {
            let error = CommandError::usage(format!("`{}` is {count} machines", cut(&clean_line(text), 60)));
            Err(fitting.iter().fold(error, |error, m| error.hint(format!("{}  {}", m.id, clean_line(&m.name)))))
        }
    }
}

fn state(machine: &Machine) -> Line {
    match (machine.connected, machine.draining) {
        (true, false) => Line::of(GREEN, "connected"),
        (true, true) => Line::of(YELLOW, "draining"),
        (false, _) => Line::of(DIM, "away"),
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { clean_line(&words.join(", ")) }
}

fn rows(machines: &MachineList, now: OffsetDateTime, width: Option<usize>) -> Vec<Line> {
    let head = ["ID", "NAME", "STATE", "TASKS", "SEEN", "AGENTS", "LABELS"];
    let mut rows = vec![head.iter().map(|name| Line::of(DIM, name)).collect::<Vec<_>>()];
    for machine in &machines.machines {
        rows.push(vec![
            Line::of(CYAN, cadence_protocol::short_id(machine.id)),
            Line::of(BOLD, cut(&clean_line(&machine.name), 24)),
            state(machine),
            Line::of(PLAIN, format!("{}/{}", machine.running, machine.capacity)),
            Line::of(DIM, age(now - machine.last_seen_at)),
            Line::of(PLAIN, cut(&list(&machine.agents), 30)),
            Line::of(PLAIN, list(&machine.labels)),
        ]);
    }
    table(rows, width)
}

fn facts(machine: &Machine, now: OffsetDateTime) -> Vec<Line> {
    let fact = |name: &str, value: String| vec![Line::of(DIM, name), Line::of(PLAIN, value)];
    let mut rows = vec![
        fact("name", clean_line(&machine.name)),
        fact("id", machine.id.to_string()),
        vec![Line::of(DIM, "state"), state(machine)],
        fact("tasks", format!("{} of {}", machine.running, machine.capacity)),
        fact("seen", format!("{} ago", age(now - machine.last_seen_at))),
        fact("version", clean_line(&machine.version)),
        fact("agents", list(&machine.agents)),
        fact("labels", list(&machine.labels)),
    ];
    for (index, url) in machine.repositories.iter().enumerate() {
        rows.push(fact(if index == 0 { "repositories" } else { "" }, clean_line(url)));
    }
    table(rows, None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::render::plain;

    fn machine(id: u128, name: &str, connected: bool, draining: bool) -> Machine {
        Machine {
            id: uuid::Uuid::from_u128(id << 96),
            user_id: uuid::Uuid::nil(),
            name: name.into(),
            version: "0.1.0".into(),
            connected,
            draining,
            capacity: 4,
            running: 1,
            labels: vec!["gpu".into(), "linux".into()],
            agents: vec!["claude".into(), "demo".into()],
            repositories: vec!["https://git.example/app".into()],
            created_at: OffsetDateTime::UNIX_EPOCH,
            last_seen_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn machines_are_a_table() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(5);
        let machines =
            vec![machine(0x1a2b_3c4d, "build-box", true, false), machine(0x5e6f_7a8b, "old\u{1b}[31m", false, true)];
        let list = MachineList { machines };
        insta::assert_snapshot!(plain(&rows(&list, now, Some(80))));
        insta::assert_snapshot!(plain(&facts(&list.machines[0], now)));
    }

    #[test]
    fn a_machine_is_found_by_name_or_beginning() {
        let list = || MachineList {
            machines: vec![
                machine(0x1a2b, "a", true, false),
                machine(0x1a2c, "b", true, false),
                machine(1, "b", true, false),
            ],
        };
        assert_eq!(pick("a", list()).unwrap().name, "a");
        assert_eq!(pick("00001a2b", list()).unwrap().name, "a");
        insta::assert_snapshot!(pick("b", list()).unwrap_err().message(), @"`b` is 2 machines");
        insta::assert_snapshot!(pick("zz", list()).unwrap_err().message(), @"there is no machine `zz`");
    }
}
