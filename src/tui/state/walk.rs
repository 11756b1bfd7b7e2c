//! Moving over a transcript: scrolling, jumping, marking and unfolding.

use super::transcript::{Place, Transcript};

impl Transcript {
    /// Moves the view by so many lines. What is to be fetched for that is said by [`Transcript::want`].
    pub fn scroll(&mut self, by: isize, width: usize, height: usize) {
        let (mut index, mut line) = self.top(width, height);
        if self.items.is_empty() {
            return;
        }
        if by < 0 {
            let mut left = by.unsigned_abs();
            while left > line && index > 0 {
                left -= line;
                index -= 1;
                line = self.lines(index, width).len();
            }
            line = line.saturating_sub(left);
        } else {
            let mut left = by.unsigned_abs();
            loop {
                let rest = self.lines(index, width).len().saturating_sub(line);
                if left < rest {
                    line += left;
                    break;
                }
                if index + 1 == self.items.len() {
                    line += rest.saturating_sub(1);
                    break;
                }
                left -= rest;
                (index, line) = (index + 1, 0);
            }
        }
        self.put(index, line, width, height);
    }

    /// Shows a line at the top; near the end of all it is the end.
    fn put(&mut self, index: usize, line: usize, width: usize, height: usize) {
        let here_is_all = self.last().is_some_and(|last| last >= self.end);
        let mut below = self.lines(index, width).len().saturating_sub(line);
        let mut next = index + 1;
        while below <= height && next < self.items.len() {
            below += self.lines(next, width).len();
            next += 1;
        }
        if below + self.delta_lines(width).len() <= height && here_is_all {
            self.follow();
        } else {
            self.place = Place::Top { seq: self.items[index].first(), line };
        }
    }

    fn follow(&mut self) {
        self.place = Place::End;
        self.unseen = 0;
    }

    /// Goes to the end and follows it.
    pub fn jump_to_end(&mut self) {
        self.follow();
        self.mark = None;
        if self.last().is_some_and(|last| last < self.end) {
            self.clear();
        }
    }

    /// Goes to an event, which may have to be fetched first.
    pub fn jump_to(&mut self, seq: u64, width: usize, height: usize) {
        let seq = seq.clamp(1, self.end.max(1));
        if let Some((first, last)) = self.range()
            && (first..=last).contains(&seq)
            && let Some(index) = self.at(seq)
        {
            // A little of what was before it.
            self.put(index, 0, width, height);
            if let Place::Top { .. } = self.place {
                self.scroll(-(height as isize / 4), width, height);
            }
            return;
        }
        self.clear();
        self.place = Place::Top { seq, line: 0 };
    }

    /// Marks the next item, or the one before; with nothing marked, one on the screen.
    pub fn move_mark(&mut self, forward: bool, width: usize, height: usize) {
        let shown = self.shown(width, height);
        let visible = |seq: u64| shown.iter().any(|line| line.seq == seq);
        let index = match self.mark.filter(|mark| visible(*mark)).and_then(|mark| self.at(mark)) {
            Some(index) => {
                let has_lines = |index: &usize| !self.lines(*index, width).is_empty();
                let next = if forward {
                    (index + 1..self.items.len()).find(has_lines)
                } else {
                    (0..index).rev().find(has_lines)
                };
                let Some(next) = next else { return };
                next
            }
            None => {
                let line = if forward { shown.first() } else { shown.iter().rev().find(|line| line.seq != u64::MAX) };
                let Some(index) = line.and_then(|line| self.at(line.seq)) else { return };
                index
            }
        };
        let seq = self.items[index].first();
        self.mark = Some(seq);
        self.reveal(index, width, height);
    }

    /// The item that an event is in.
    pub fn item_of(&self, seq: u64) -> u64 {
        self.at(seq).map_or(seq, |index| self.items[index].first())
    }

    /// Marks an item that is on the screen.
    pub fn mark_at(&mut self, seq: u64) {
        self.mark = Some(seq);
    }

    fn reveal(&mut self, index: usize, width: usize, height: usize) {
        let seq = self.items[index].first();
        let lines = self.lines(index, width).len().min(height);
        let shown = self.shown(width, height);
        let seen = shown.iter().filter(|line| line.seq == seq).count();
        if seen >= lines {
            return;
        }
        let above = shown.first().is_some_and(|line| line.seq >= seq);
        if above {
            self.put(index, 0, width, height);
        } else {
            self.scroll((lines - seen) as isize, width, height);
        }
    }

    /// Unfolds the marked item, or folds it.
    pub fn toggle(&mut self, seq: u64, width: usize, height: usize) {
        if self.items.is_empty() {
            return;
        }
        let top = self.top(width, height);
        if !self.toggled.remove(&seq) {
            self.toggled.insert(seq);
        }
        // What is read stays where it is.
        if self.place != Place::End || self.at(seq).is_some_and(|index| index + 3 < self.items.len()) {
            let (index, line) = top;
            let line = line.min(self.lines(index, width).len().saturating_sub(1));
            self.place = Place::Top { seq: self.items[index].first(), line };
            self.put(index, line, width, height);
        }
    }

    pub fn toggle_all(&mut self) {
        self.toggled.clear();
        self.all_unfolded = !self.all_unfolded;
    }
}
