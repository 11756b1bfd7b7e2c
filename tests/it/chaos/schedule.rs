//! What happens in a run, all of it from the seed. No I/O.

use fastrand::Rng;

/// What becomes of a task that nobody disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// What a person does to a task while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    Nothing,
    /// Pauses it, and lets it go on once it is paused.
    Pause,
    Message,
    Cancel,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub agent: &'static str,
    pub prompt: String,
    /// Which of the repositories.
    pub repo: usize,
    /// Whether it runs on a machine that dialled in.
    pub far: bool,
    pub steer: Steer,
    pub outcome: Outcome,
    /// Whether a `cadence tasks logs -f` goes along.
    pub followed: bool,
}

/// What happens to a server and what it runs.
#[derive(Clone, Debug)]
pub enum Blow {
    /// It dies by a fault of its own.
    Fault,
    /// Killed, when so many tasks have ended in this life.
    Kill(usize),
    /// Everything is killed: the server, the hosts, the agents and what they started.
    PowerCut(usize),
    /// Told to end.
    Stop(usize),
    /// Some host dies, and the server lives until the stop.
    Host(usize),
    /// Some agent dies, and the server lives until the stop.
    Agent(usize),
    /// The link to a machine breaks, and both ends are told.
    Cut(usize),
    /// The link to a machine is gone for a while, and nobody is told.
    Vanish(usize),
}

/// One life of the server.
#[derive(Clone, Debug)]
pub struct Life {
    /// Value of `CADENCE_FAULTS`.
    pub faults: String,
    pub blow: Blow,
}

/// One life of a machine.
#[derive(Clone, Debug)]
pub struct FarLife {
    /// Value of `CADENCE_FAULTS`.
    pub faults: String,
    pub blow: Blow,
}

impl FarLife {
    /// One in which nothing breaks.
    pub fn quiet() -> Self {
        Self { faults: String::new(), blow: Blow::Stop(usize::MAX) }
    }
}

#[derive(Debug)]
pub struct Schedule {
    pub tasks: Vec<Task>,
    pub lives: Vec<Life>,
    /// Of each machine; none: all tasks run where the server is.
    pub machines: Vec<Vec<FarLife>>,
}

/// Points at which a server dies, and how often one is passed for each task, roughly.
const DEADLY: &[(&str, u64)] = &[
    ("claimed", 1),
    ("mirrored", 1),
    ("checked-out", 1),
    ("prepared", 1),
    ("launched", 1),
    ("heard", 12),
    ("in-tool", 4),
    ("reporting", 12),
    ("reported", 12),
    ("finishing", 1),
    ("committed", 1),
    ("published", 1),
    ("ended", 1),
    ("storing", 20),
    ("stored", 20),
];

impl Schedule {
    /// `claude`: one of so many tasks is for the real CLI.
    pub fn new(seed: u64, tasks: usize, claude: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let tasks: Vec<_> = (0..tasks).map(|number| task(&mut rng, number, claude)).collect();
        // A life for every five tasks; when they are used up, the last one has no faults.
        let lives = (0..tasks.len() / 5).map(|_| life(&mut rng)).collect();
        Self { tasks, lives, machines: Vec::new() }
    }

    /// The same with so many machines, which run two of three tasks; the server itself dies less often.
    pub fn with_machines(seed: u64, tasks: usize, claude: usize, machines: usize) -> Self {
        let mut schedule = Self::new(seed, tasks, claude);
        let mut rng = Rng::with_seed(seed ^ 0xfa5);
        for task in &mut schedule.tasks {
            task.far = rng.u32(..3) > 0;
        }
        schedule.lives = (0..tasks / 10).map(|_| life(&mut rng)).collect();
        schedule.machines = (0..machines).map(|_| (0..tasks / 8).map(|_| far_life(&mut rng)).collect()).collect();
        schedule
    }
}

/// Points at which a machine dies, and how often one is passed for each task, roughly.
const FAR_DEADLY: &[(&str, u64)] = &[
    ("claimed", 1),
    ("mirrored", 1),
    ("checked-out", 1),
    ("prepared", 1),
    ("launched", 1),
    ("heard", 12),
    ("in-tool", 4),
    ("reporting", 12),
    ("reported", 12),
    ("finishing", 1),
    ("committed", 1),
    ("ended", 1),
];

fn far_life(rng: &mut Rng) -> FarLife {
    let ends = rng.usize(1..6);
    let blow = match rng.u32(..20) {
        0..9 => {
            let (point, often) = FAR_DEADLY[rng.usize(..FAR_DEADLY.len())];
            let time = rng.u64(1..=often * 3);
            return FarLife { faults: format!("{point}@{time}=kill"), blow: Blow::Fault };
        }
        9..12 => Blow::Kill(ends),
        12..14 => Blow::PowerCut(ends),
        14..16 => Blow::Stop(ends),
        16..19 => Blow::Cut(ends),
        _ => Blow::Vanish(ends),
    };
    FarLife { faults: String::new(), blow }
}

fn task(rng: &mut Rng, number: usize, claude: usize) -> Task {
    let repo = rng.usize(..3);
    let followed = number.is_multiple_of(10);
    if number % claude == claude - 1 {
        let prompt = format!("Write {number} [[scenario:stubborn]]");
        return Task {
            agent: "claude",
            prompt,
            repo,
            far: false,
            steer: Steer::Nothing,
            outcome: Outcome::Completed,
            followed: true,
        };
    }
    let (directives, outcome) = match rng.u32(..20) {
        0..3 => ("[[ask]]", Outcome::Completed),
        3..5 => ("[[question]]", Outcome::Completed),
        5..8 => ("[[daemonize]] [[run sleep 0.2]]", Outcome::Completed),
        8..10 => ("[[events 300]]", Outcome::Completed),
        10..12 => ("[[output 300000]]", Outcome::Completed),
        12..14 => ("[[fail]]", Outcome::Failed),
        14..16 => ("[[run echo a >> a.txt]] [[run git add a.txt && git commit -qm a]]", Outcome::Completed),
        _ => ("[[run sleep 0.1]]", Outcome::Completed),
    };
    let (steer, outcome) = match rng.u32(..10) {
        0 => (Steer::Pause, outcome),
        1 => (Steer::Message, outcome),
        2 => (Steer::Cancel, Outcome::Cancelled),
        _ => (Steer::Nothing, outcome),
    };
    Task { agent: "demo", prompt: format!("{directives} Note {number}"), repo, far: false, steer, outcome, followed }
}

fn life(rng: &mut Rng) -> Life {
    let ends = rng.usize(1..6);
    match rng.u32(..10) {
        0..5 => {
            let (point, often) = DEADLY[rng.usize(..DEADLY.len())];
            let time = rng.u64(1..=often * 5);
            Life { faults: format!("{point}@{time}=kill"), blow: Blow::Fault }
        }
        5 => Life { faults: String::new(), blow: Blow::Kill(ends) },
        6 => Life { faults: String::new(), blow: Blow::PowerCut(ends) },
        7 => {
            // The disk is full for some transactions, and the storage slow.
            let times: Vec<_> = (0..5).map(|_| format!("storing@{}=fail", rng.u64(3..100))).collect();
            Life { faults: format!("{},reporting=delay:3", times.join(",")), blow: Blow::Stop(ends) }
        }
        8 => Life { faults: String::new(), blow: Blow::Host(ends) },
        _ => Life { faults: String::new(), blow: Blow::Agent(ends) },
    }
}

#[test]
fn a_seed_is_a_schedule() {
    let schedule = |seed| format!("{:?}", Schedule::new(seed, 100, 50));
    assert_eq!(schedule(7), schedule(7));
    assert_ne!(schedule(7), schedule(8));
    let far = |seed| format!("{:?}", Schedule::with_machines(seed, 100, 50, 2));
    assert_eq!(far(7), far(7));
}
