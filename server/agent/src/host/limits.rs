//! The limits of an agent with all that it starts: as settings of a control group, and watched from here where there is none.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use cadence_protocol::SandboxLimits;

/// Exit code of a host whose agent was ended for going beyond its limits. None of a shell's.
pub const LIMIT_REACHED: i32 = 125;
/// What the host writes to stderr before what there is to say about limits.
pub const LIMIT_MARK: &str = "cadence host: limit: ";

/// What a host said last about limits, as a sentence. `stderr` is the end of what came on that.
pub fn told_limit(stderr: &str) -> Option<String> {
    let words = stderr.lines().filter_map(|line| line.strip_prefix(LIMIT_MARK)).next_back()?;
    let mut letters = words.chars();
    let first = letters.next()?.to_uppercase();
    Some(format!("{first}{}.", letters.as_str()))
}

/// Time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(500);
/// Length of the time over which processors are shared out, in microseconds: the kernel's usual one.
const PERIOD: f64 = 100_000.0;

/// Controllers that keep these limits.
pub fn controllers(limits: &SandboxLimits) -> Vec<&'static str> {
    let wanted = [
        ("memory", limits.memory_bytes.is_some()),
        ("cpu", limits.cpus.is_some()),
        ("pids", limits.processes.is_some()),
    ];
    wanted.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// Files of a control group, and what they hold for these limits.
pub fn group_settings(limits: &SandboxLimits) -> Vec<(&'static str, String)> {
    let memory = limits.memory_bytes.map(|bytes| ("memory.max", bytes.to_string()));
    // The kernel takes no less than a millisecond.
    let quota = |cpus: f64| (cpus * PERIOD).round().max(1000.0);
    let cpu = limits.cpus.map(|cpus| ("cpu.max", format!("{:.0} {PERIOD:.0}", quota(cpus))));
    let processes = limits.processes.map(|processes| ("pids.max", processes.to_string()));
    [memory, cpu, processes].into_iter().flatten().collect()
}

/// What processes take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    threads: u64,
    bytes: u64,
}

/// Looks at the agent's processes until they take more than they may; then says what, once. `members` gives their ids.
pub fn watch<E: Send + 'static>(
    limits: SandboxLimits,
    members: impl Fn() -> Vec<i32> + Send + 'static,
    exceeded: impl Fn(String) -> E + Send + 'static,
    events: Sender<E>,
) {
    if !cfg!(target_os = "linux") || (limits.memory_bytes.is_none() && limits.processes.is_none()) {
        return;
    }
    std::thread::spawn(move || {
        loop {
            let pids = members();
            if let Some(why) = beyond(&limits, taken(&pids, resident), || taken(&pids, proportional)) {
                // Nobody listens: it ends anyway.
                drop(events.send(exceeded(why)));
                return;
            }
            std::thread::sleep(LOOK);
        }
    });
}

/// What is beyond the limits, in words. Memory that processes share counts for each of them in `taken`, and once in what
/// `exactly` gives, which takes longer to find out.
fn beyond(limits: &SandboxLimits, taken: Taken, exactly: impl FnOnce() -> Taken) -> Option<String> {
    if let Some(most) = limits.processes.filter(|most| taken.threads > *most) {
        return Some(too_many(taken.threads, most));
    }
    let most = limits.memory_bytes.filter(|most| taken.bytes > *most)?;
    let bytes = exactly().bytes;
    (bytes > most).then(|| too_much(bytes, most))
}

fn too_many(threads: u64, most: u64) -> String {
    format!("the agent and what it started were {threads} processes and threads, more than the {most} that it may have")
}

fn too_much(bytes: u64, most: u64) -> String {
    let mebi = |bytes: u64| bytes.div_ceil(1 << 20);
    format!(
        "the agent and what it started took {} MiB of memory, more than the {} MiB that it may have",
        mebi(bytes),
        mebi(most)
    )
}

/// What is said when the kernel killed processes for their memory.
pub fn out_of_memory(killed: u64, most: Option<u64>) -> String {
    let limit = most.map(|bytes| format!(" of {} MiB", bytes.div_ceil(1 << 20))).unwrap_or_default();
    let what = if killed == 1 {
        "1 process that the agent started was".to_owned()
    } else {
        format!("{killed} processes of the agent were")
    };
    format!("{what} killed because all together had reached their limit of memory{limit}")
        .replace("limit of memory of", "limit of")
}

fn taken(pids: &[i32], look: impl Fn(&Path) -> Option<Taken>) -> Taken {
    pids.iter().filter_map(|pid| look(Path::new(&format!("/proc/{pid}")))).fold(Taken::default(), |sum, one| Taken {
        threads: sum.threads + one.threads,
        bytes: sum.bytes.saturating_add(one.bytes),
    })
}

/// Threads and resident memory, see proc_pid_stat(5).
fn resident(process: &Path) -> Option<Taken> {
    let stat = std::fs::read(process.join("stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat), rustix::param::page_size() as u64)
}

fn parse_stat(stat: &str, page: u64) -> Option<Taken> {
    // The name, in parentheses, can hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(17);
    let threads = fields.next()?.parse().ok()?;
    let pages: u64 = fields.nth(3)?.parse().ok()?;
    Some(Taken { threads, bytes: pages.saturating_mul(page) })
}

/// Memory with what is shared divided by those who share it, see proc_pid_smaps(5).
fn proportional(process: &Path) -> Option<Taken> {
    let text = std::fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibi: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Taken { threads: 0, bytes: kibi.saturating_mul(1024) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_settings_of_a_group() {
        let limits = SandboxLimits {
            memory_bytes: Some(4 << 30),
            cpus: Some(1.5),
            processes: Some(512),
            wall_clock_secs: Some(60),
            by: None,
        };
        let expected = [("memory.max", "4294967296"), ("cpu.max", "150000 100000"), ("pids.max", "512")];
        let expected: Vec<_> = expected.map(|(file, value)| (file, value.to_owned())).into();
        assert_eq!(group_settings(&limits), expected);
        assert_eq!(controllers(&limits), ["memory", "cpu", "pids"]);
        assert!(group_settings(&SandboxLimits { wall_clock_secs: Some(1), ..Default::default() }).is_empty());
        let little = SandboxLimits { cpus: Some(0.001), ..Default::default() };
        assert_eq!(group_settings(&little), [("cpu.max", "1000 100000".to_owned())]);
    }

    #[test]
    fn what_was_said_of_limits_is_found() {
        let said = format!("noise\n{LIMIT_MARK}it was too much\ncadence host: other\n");
        assert_eq!(told_limit(&said).unwrap(), "It was too much.");
        assert_eq!(told_limit("cadence host: the agent"), None);
        assert_eq!(told_limit(LIMIT_MARK), None);
    }

    #[test]
    fn shared_memory_is_no_reason_to_end() {
        let limits = SandboxLimits { memory_bytes: Some(100 << 20), processes: Some(10), ..Default::default() };
        let taken = |threads, mebi: u64| Taken { threads, bytes: mebi << 20 };
        assert_eq!(beyond(&limits, taken(10, 100), || unreachable!()), None);
        assert_eq!(beyond(&limits, taken(5, 200), || taken(0, 99)), None);
        let much = beyond(&limits, taken(5, 200), || taken(0, 150)).unwrap();
        assert!(much.contains("150 MiB") && much.contains("100 MiB"), "{much}");
        assert!(beyond(&limits, taken(11, 1), || unreachable!()).unwrap().contains("11 processes"));
        assert_eq!(
            out_of_memory(1, Some(1 << 30)),
            "1 process that the agent started was killed because all together had reached their limit of 1024 MiB"
        );
    }

    #[test]
    fn this_process_takes_something() {
        if cfg!(target_os = "linux") {
            let own = [i32::try_from(std::process::id()).unwrap()];
            let (resident, proportional) = (taken(&own, resident), taken(&own, proportional));
            assert!(
                resident.threads >= 1 && resident.bytes > 0 && proportional.bytes > 0,
                "{resident:?} {proportional:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_a_process_calls_itself_it_is_counted(name in "[^\0]{0,15}", threads in 1u64..9999, pages in 0u64..1 << 40) {
            let stat = format!("7 ({name}) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 {threads} 0 99 1000 {pages} 5 6\n");
            prop_assert_eq!(parse_stat(&stat, 4096), Some(Taken { threads, bytes: pages * 4096 }));
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = parse_stat(&text, 4096);
        }
    }
}
