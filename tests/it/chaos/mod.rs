//! Many tasks, while the server, hosts, agents and storage fail at random. `CADENCE_CHAOS_SEED` repeats a run,
//! `CADENCE_CHAOS_TASKS` makes it longer.

mod far;
mod schedule;
mod world;

use self::schedule::Schedule;
use self::world::World;

/// Seed of the short run that is part of all tests, so that it does the same for everyone.
const SEED: u64 = 20;
const TASKS: usize = 200;
/// Of so many tasks, one is for the real CLI, which is large.
const CLAUDE: usize = 40;
const MACHINES: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn nothing_is_lost_in_chaos() {
    let seed = number("CADENCE_CHAOS_SEED").unwrap_or(SEED);
    let tasks = number("CADENCE_CHAOS_TASKS").map_or(TASKS, |tasks| usize::try_from(tasks).unwrap());
    eprintln!("chaos: seed {seed}, {tasks} tasks; again with CADENCE_CHAOS_SEED={seed} CADENCE_CHAOS_TASKS={tasks}");
    let mut world = World::new(Schedule::new(seed, tasks, CLAUDE), seed);
    world.run();
    world.check();
}

#[test]
fn nothing_is_lost_in_chaos_between_machines() {
    let seed = number("CADENCE_CHAOS_SEED").unwrap_or(SEED);
    let tasks = number("CADENCE_CHAOS_TASKS").map_or(TASKS, |tasks| usize::try_from(tasks).unwrap());
    eprintln!("chaos: seed {seed}, {tasks} tasks; again with CADENCE_CHAOS_SEED={seed} CADENCE_CHAOS_TASKS={tasks}");
    let mut world = World::new(Schedule::with_machines(seed, tasks, CLAUDE, MACHINES), seed);
    world.run();
    world.check();
}
