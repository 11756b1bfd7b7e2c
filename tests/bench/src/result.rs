//! Figures and their bounds.

use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Results {
    missed: usize,
    count: usize,
}

impl Results {
    /// A figure that has to be at least `bound`. `beside`: what it is compared with, in words.
    pub fn at_least(&mut self, name: &str, figure: f64, bound: f64, unit: &str, beside: &str) {
        self.say(name, figure, bound, unit, beside, figure >= bound, "≥");
    }

    /// A figure that may be at most `bound`.
    pub fn at_most(&mut self, name: &str, figure: f64, bound: f64, unit: &str, beside: &str) {
        self.say(name, figure, bound, unit, beside, figure <= bound, "≤");
    }

    #[expect(clippy::too_many_arguments, reason = "one line of a table")]
    fn say(&mut self, name: &str, figure: f64, bound: f64, unit: &str, beside: &str, ok: bool, sign: &str) {
        self.count += 1;
        self.missed += usize::from(!ok);
        let mark = if ok { "ok    " } else { "MISSED" };
        println!("{mark} {name:<44} {figure:>10.2} {unit:<9} ({sign} {bound})  {beside}");
    }

    pub fn end(&self) -> ExitCode {
        println!("{} figures, {} missed", self.count, self.missed);
        if self.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The value below which so many percent of the samples lie.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples.get(last * percent / 100).copied().unwrap_or_default()
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
