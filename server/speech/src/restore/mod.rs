//! Identifiers that were spoken in words, written as code again.

mod candidates;
mod class;
mod evidence;
mod names;
mod numbers;
mod prose;
mod sound;
mod words;

/// For tuning.
pub mod dump {
    use super::*;
    pub struct Row { pub from: usize, pub to: usize, pub start: usize, pub end: usize, pub names: Vec<String>, pub apart: f32, pub x: Vec<f32>, pub left: String, pub right: String }
    pub struct Lex(names::Names);
    impl Lex {
        pub fn new(n: &[String]) -> Self { Self(names::Names::new(n)) }
        pub fn rows(&self, text: &str) -> Vec<Row> {
            let words = words::words(text);
            let cs = candidates::candidates(&words, &self.0);
            cs.iter().map(|c| {
                let covered = cs.iter().any(|o| o.apart == 0.0 && o.from <= c.from && o.to >= c.to && o.len() > c.len());
                let n = self.0.get(c.names[0]).unwrap();
                let a = evidence::Around::of(&words, c);
                Row { from: c.from, to: c.to, start: words[c.from].at.start, end: words[c.to - 1].at.end,
                  names: c.names.iter().map(|n| self.0.get(*n).unwrap().text.to_string()).collect(), apart: c.apart,
                  x: evidence::features(&words, c, n, c.names[0], &self.0, covered).to_vec(),
                  left: a.before.map_or(String::new(), |w| w.lower.clone()), right: a.after.map_or(String::new(), |w| w.lower.clone()) }
            }).collect()
        }
    }
}
