//! How much of what was said is restored, how much is changed that should not be, and how long it takes.

use std::time::{Duration, Instant};

use cadence_speech::restore::Lexicon;

use crate::result::{Results, millis, percentile};

#[path = "../../../server/speech/src/restore/tests/figures.rs"]
mod figures;

/// Names of a large repository.
const NAMES: usize = 50_000;

pub fn measure(results: &mut Results) {
    let projects = figures::projects();
    for (part, together, exact, misheard, changed) in
        [("tuning", 91.0, 95.0, 84.0, 2.0), ("held out", 90.0, 92.0, 85.0, 2.0), ("untouched", 86.5, 92.0, 75.0, 3.0)]
    {
        let figures = figures::measure(&projects, part);
        let name = |what: &str| format!("{what}, {part}");
        let beside = |share: figures::Share| format!("{} of {}", share.hits, share.of);
        results.at_least(
            &name("identifiers restored, as spoken or misheard"),
            figures.together.percent(),
            together,
            "%",
            &beside(figures.together),
        );
        results.at_least(
            &name("identifiers as spoken restored"),
            figures.exact.percent(),
            exact,
            "%",
            &beside(figures.exact),
        );
        results.at_least(
            &name("misheard ones restored"),
            figures.misheard.percent(),
            misheard,
            "%",
            &beside(figures.misheard),
        );
        results.at_least(&name("single words restored"), figures.single.percent(), 10.0, "%", &beside(figures.single));
        results.at_most(
            &name("ordinary sentences changed"),
            figures.changed.percent(),
            changed,
            "%",
            &beside(figures.changed),
        );
        let home = figures.changed_at_home;
        results.at_most(&name("of the project's own, changed"), home.percent(), 4.0, "%", &beside(home));
        let mentions = figures.mentions;
        results.at_least(
            &name("of those that speak of a name, changed"),
            mentions.percent(),
            70.0,
            "%",
            &beside(mentions),
        );
    }

    let known: Vec<String> = projects.iter().flat_map(|project| project.names.iter().cloned()).collect();
    let names: Vec<String> =
        (0..NAMES).map(|n| format!("{}{}", known[n % known.len()], "_x".repeat(n / known.len()))).collect();
    let started = Instant::now();
    let lexicon = Lexicon::new(&names, &[]);
    let beside = format!("{NAMES} names");
    results.at_most("time to index a vocabulary", millis(started.elapsed()), 100.0, "ms", &beside);
    let mut times: Vec<Duration> = projects
        .iter()
        .flat_map(|project| &project.ordinary)
        .map(|sentence| {
            let started = Instant::now();
            std::hint::black_box(lexicon.restore(sentence));
            started.elapsed()
        })
        .collect();
    results.at_most("time to restore a sentence, p99", millis(percentile(&mut times, 99)), 10.0, "ms", &beside);
}
