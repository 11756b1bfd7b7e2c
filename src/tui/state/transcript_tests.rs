#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tui::samples::{event, id, transcript as sample, words};

const WIDTH: usize = 60;

fn of(events: impl IntoIterator<Item = Event>, end: u64) -> Transcript {
    let mut transcript = Transcript::new(id(1), end);
    transcript.take(events.into_iter().collect(), end);
    transcript
}

/// So many events of a line each.
fn many(from: u64, count: u64) -> Vec<Event> {
    (from..from + count)
        .map(|seq| event(id(1), seq, json!({"type": "progress", "percent": 1, "note": format!("step {seq}")})))
        .collect()
}

fn text(transcript: &Transcript, height: usize) -> Vec<String> {
    transcript.shown(WIDTH, height).iter().map(|shown| shown.line.plain()).collect()
}

/// A server with so many events: pages are answered until nothing is wanted.
fn serve(transcript: &mut Transcript, height: usize, end: u64) -> usize {
    let mut pages = 0;
    while let Some(want) = transcript.want(WIDTH, height) {
        pages += 1;
        assert!(pages < 50, "it asks for ever: {want:?}");
        let count = PAGE.min(end - want.after);
        transcript.page(want.after, many(want.after + 1, count), end);
    }
    pages
}

#[test]
fn a_command_and_its_output_are_one_and_so_are_a_request_and_its_answer() {
    let mut events = sample(id(1));
    events.push(event(
        id(1),
        13,
        json!({"type": "approval_resolved", "approvalId": "a1", "decision": "allow", "by": "ann"}),
    ));
    let transcript = of(events, 13);
    insta::assert_snapshot!(text(&transcript, 60).join("\n"));
}

#[test]
fn it_follows_the_end_until_it_is_scrolled_away() {
    let mut transcript = of(many(1, 50), 50);
    assert!(text(&transcript, 5)[4].contains("step 50"));
    transcript.live(many(51, 1).remove(0));
    assert!(text(&transcript, 5)[4].contains("step 51"));
    transcript.scroll(-3, WIDTH, 5);
    let before = text(&transcript, 5);
    transcript.live(many(52, 1).remove(0));
    transcript.live(many(53, 1).remove(0));
    assert_eq!(text(&transcript, 5), before);
    assert_eq!(transcript.unseen(), 2);
    transcript.jump_to_end();
    assert!(text(&transcript, 5)[4].contains("step 53"));
    assert_eq!(transcript.unseen(), 0);
    // Scrolled to the end by hand, it follows as well.
    transcript.scroll(-2, WIDTH, 5);
    transcript.scroll(9, WIDTH, 5);
    assert_eq!(transcript.place(), Place::End);
}

#[test]
fn a_million_events_are_walked_with_few_of_them_here() {
    let end = 1_000_000;
    let mut transcript = Transcript::new(id(1), end);
    assert_eq!(transcript.want(WIDTH, 40), Some(Want { after: end - PAGE }));
    transcript.page(end - PAGE, many(end - PAGE + 1, PAGE), end);
    assert!(text(&transcript, 40)[39].contains("step 1000000"));
    for _ in 0..1000 {
        transcript.scroll(-39, WIDTH, 40);
        serve(&mut transcript, 40, end);
        assert!(transcript.count <= MOST + PAGE as usize, "{}", transcript.count);
        assert_eq!(text(&transcript, 40).len(), 40);
    }
    let Place::Top { seq, .. } = transcript.place() else { panic!() };
    assert_eq!(seq, end - 39 - 39 * 1000);
    // What is new meanwhile is counted, not kept.
    transcript.live(many(end + 1, 1).remove(0));
    assert_eq!(transcript.unseen(), 1);
    transcript.jump_to(1, WIDTH, 40);
    serve(&mut transcript, 40, end + 1);
    assert!(text(&transcript, 40)[0].contains("step 1"));
    transcript.jump_to_end();
    serve(&mut transcript, 40, end + 1);
    assert!(text(&transcript, 40)[39].contains("step 1000001"));
}

#[test]
fn down_again_the_same_lines_are_seen() {
    let end = 20_000;
    let mut transcript = Transcript::new(id(1), end);
    serve(&mut transcript, 20, end);
    for _ in 0..600 {
        transcript.scroll(-20, WIDTH, 20);
        serve(&mut transcript, 20, end);
    }
    let mut seen = text(&transcript, 20);
    while transcript.place() != Place::End {
        transcript.scroll(20, WIDTH, 20);
        serve(&mut transcript, 20, end);
        let shown = text(&transcript, 20);
        let new = shown.iter().position(|line| !seen.contains(line));
        seen.extend(shown[new.unwrap_or(shown.len())..].to_vec());
    }
    let numbers: Vec<u64> = seen.iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    let first = numbers[0];
    assert_eq!(numbers, (first..=end).collect::<Vec<_>>());
}

#[test]
fn items_are_marked_and_unfolded() {
    let output: String = (1..=60).map(|n| format!("line {n}\n")).collect();
    let events = vec![
        words(id(1), 1, "one"),
        event(id(1), 2, json!({"type": "command_run", "command": "make", "exitCode": 0, "output": output})),
        words(id(1), 3, "two"),
    ];
    let mut transcript = of(events, 3);
    let folded = text(&transcript, 100).len();
    transcript.move_mark(false, WIDTH, 20);
    transcript.move_mark(false, WIDTH, 20);
    assert_eq!(transcript.mark(), Some(2));
    transcript.toggle(2, WIDTH, 20);
    assert!(text(&transcript, 100).len() > folded + 40);
    assert!(transcript.text(2).unwrap().ends_with("line 60\n"));
    transcript.toggle(2, WIDTH, 20);
    assert_eq!(text(&transcript, 100).len(), folded);
    transcript.toggle_all();
    assert!(text(&transcript, 100).len() > folded + 40);
}

#[test]
fn raw_events_are_one_each() {
    let mut transcript = of(sample(id(1)), 12);
    transcript.set_mode(Mode::Raw);
    let lines = text(&transcript, 60);
    assert_eq!(lines.len(), 12);
    assert!(lines[4].starts_with("      5 tool_use           {\"type\":\"tool_use\""), "{}", lines[4]);
    assert!(lines.iter().all(|line| crate::text::width(line) <= WIDTH));
    transcript.set_mode(Mode::Readable);
    assert!(text(&transcript, 60).len() > 12);
}

#[test]
fn text_to_come_is_seen_until_the_event_is_there() {
    let mut transcript = of([words(id(1), 1, "one")], 1);
    transcript.delta("I am wri");
    transcript.delta("ting");
    assert_eq!(text(&transcript, 10).last().unwrap(), "I am writing");
    transcript.live(words(id(1), 2, "I am writing this."));
    assert_eq!(text(&transcript, 10).last().unwrap(), "I am writing this.");
    // It can be scrolled away from.
    let mut transcript = of(many(1, 50), 50);
    transcript.delta("more");
    transcript.scroll(-1, WIDTH, 5);
    assert_ne!(transcript.place(), Place::End);
    transcript.scroll(9, WIDTH, 5);
    assert_eq!(transcript.place(), Place::End);
    transcript.delta(&"日".repeat(MOST_DELTA));
    assert!(transcript.delta.len() <= MOST_DELTA);
}

#[test]
fn events_that_come_before_the_first_page_are_not_lost() {
    let mut transcript = Transcript::new(id(1), 10);
    let want = transcript.want(WIDTH, 10).unwrap();
    transcript.live(many(11, 1).remove(0));
    transcript.page(want.after, many(1, 10), 10);
    assert_eq!(transcript.want(WIDTH, 10), Some(Want { after: 10 }));
    transcript.page(10, many(11, 1), 11);
    assert_eq!(transcript.range(), Some((1, 11)));
}

#[test]
fn words_are_found_in_both_directions() {
    let transcript = of(sample(id(1)), 12);
    assert_eq!(transcript.find("failed", 13, false), Some(6));
    assert_eq!(transcript.find("user_service", 6, true), Some(11));
    assert_eq!(transcript.find("nowhere", 13, false), None);
}

proptest! {
    /// Whatever is scrolled, fetched and said: nothing panics, lines fit, and no event is shown twice.
    #[test]
    fn it_survives_everything(steps in prop::collection::vec((0u8..9, -60isize..60, 1u64..900), 1..60)) {
        let mut transcript = Transcript::new(id(1), 700);
        let mut end = 700;
        for (what, by, seq) in steps {
            match what {
                0 | 1 => transcript.scroll(by, WIDTH, 17),
                2 => transcript.jump_to(seq, WIDTH, 17),
                3 => transcript.jump_to_end(),
                4 => { end += 1; transcript.live(many(end, 1).remove(0)); }
                5 => transcript.move_mark(by > 0, WIDTH, 17),
                6 => if let Some(mark) = transcript.mark() { transcript.toggle(mark, WIDTH, 17) },
                7 => transcript.set_mode(if by > 0 { Mode::Raw } else { Mode::Readable }),
                _ => transcript.toggle_all(),
            }
            if by % 3 == 0 {
                serve(&mut transcript, 17, end);
            }
            let shown = transcript.shown(WIDTH, 17);
            prop_assert!(shown.len() <= 17);
            let mut seqs: Vec<u64> = shown.iter().map(|line| line.seq).collect();
            prop_assert!(seqs.is_sorted());
            seqs.dedup();
            let sorted: std::collections::BTreeSet<u64> = seqs.iter().copied().collect();
            prop_assert_eq!(sorted.len(), seqs.len());
        }
        transcript.jump_to_end();
        serve(&mut transcript, 17, end);
        let last = text(&transcript, 17).pop().unwrap_or_default();
        let says = format!("step {end}");
        let raw = last.trim_start().starts_with(&end.to_string()) || last.trim() == "}";
        prop_assert!(last.contains(&says) || raw, "{}", last);
    }
}
