use std::time::Duration;

use proptest::prelude::*;

use super::plausible;

fn heard(text: &str, seconds: f64) -> Option<String> {
    plausible(text, Duration::from_secs_f64(seconds))
}

#[test]
fn what_was_not_said_is_refused() {
    let table = [
        "",
        "  ",
        ".",
        "...",
        "[BLANK_AUDIO]",
        " [BLANK_AUDIO] [BLANK_AUDIO]",
        "(music)",
        "[Music]",
        "*laughs*",
        "♪",
        "♪♪♪",
        "♪ la la la ♪",
        "(upbeat music playing)",
        "[SPEAKING FOREIGN LANGUAGE]",
        "(speaking in foreign language)",
        "[ Silence ]",
        "(keyboard clicking)",
        "Thank you.",
        "Thanks for watching!",
        "you",
        "You",
        "Bye.",
        "Vielen Dank.",
        "Please subscribe.",
        "Don't forget to like and subscribe!",
        "I'll see you in the next video.",
        "ご視聴ありがとうございました",
        "Subtitles by the Amara.org community",
        "Untertitel der Amara.org-Community",
        "Sous-titres réalisés par la communauté",
        "[Music] Thank you.",
    ];
    for text in table {
        assert_eq!(heard(text, 0.1), None, "{text}");
    }
}

#[test]
fn credits_are_refused_whatever_was_heard() {
    for text in
        ["Subtitles by the Amara.org community", "Transcribed by ESO, translated by —", "Untertitelung des ZDF, 2020"]
    {
        assert_eq!(heard(text, 5.0), None, "{text}");
    }
}

#[test]
fn what_somebody_said_stays_as_it_was() {
    let table = [
        ("Thank you.", 0.6),
        ("Thanks for watching!", 1.1),
        ("you", 0.3),
        ("Yes.", 0.1),
        ("Stop.", 0.2),
        ("Approve it.", 0.2),
        ("Create an agent that adds a retry.", 2.0),
        ("Subtitles in the player are cut off, fix that.", 3.0),
        ("Untertitel werden im Player abgeschnitten, bitte behebe das Problem.", 4.0),
        ("Add a test for parse(input) and call it.", 2.5),
        ("The array [0] is empty.", 2.0),
        ("Multiply 2 * 3 * 4.", 2.0),
        ("zero zero zero zero zero zero", 2.4),
        ("No, no, no, stop it.", 1.4),
        ("Play music (in a loop) at the end.", 2.0),
    ];
    for (text, seconds) in table {
        assert_eq!(heard(text, seconds).as_deref(), Some(text));
    }
}

#[test]
fn sounds_are_taken_out_of_what_was_said() {
    let table = [
        ("[coughs] Add a retry. (keyboard clicking)", "Add a retry."),
        ("Fix the *sighs* login page.", "Fix the login page."),
        ("♪ ♪ Stop the agent.", "Stop the agent."),
        ("Stop the agent. ♪", "Stop the agent."),
        ("Restart (dramatic music continues) the build", "Restart the build"),
    ];
    for (text, expected) in table {
        assert_eq!(heard(text, 3.0).as_deref(), Some(expected));
    }
}

#[test]
fn a_loop_without_the_time_for_it_is_heard_once() {
    let stuck = format!("Add a retry. {}", "and then we go ".repeat(40));
    assert_eq!(heard(stuck.trim(), 2.0).as_deref(), Some("Add a retry. and then we go"));
    assert_eq!(heard(&"you ".repeat(100), 0.1), None);
    assert_eq!(heard(&"Thank you. ".repeat(30), 0.2), None);
    let digits = "one one one one one one one one";
    assert_eq!(heard(digits, 3.0).as_deref(), Some(digits));
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "\\PC{0,120}", millis in 0_u64..10_000) {
        if let Some(kept) = plausible(&text, Duration::from_millis(millis)) {
            prop_assert!(!kept.trim().is_empty());
            prop_assert!(kept.len() <= text.len());
        }
    }

    #[test]
    fn brackets_and_notes_of_any_kind_are_judged(text in "[\\[\\](（）*♪♫a 【】]{0,40}") {
        let _judged: Option<String> = plausible(&text, Duration::from_secs(1));
    }

    #[test]
    fn what_is_plausible_stays_so(text in "[a-z ]{1,60}") {
        let speech = Duration::from_secs(20);
        if let Some(kept) = plausible(&text, speech) {
            prop_assert_eq!(plausible(&kept, speech), Some(kept));
        }
    }
}
