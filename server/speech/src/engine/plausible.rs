//! What engines make up where nobody speaks.

use std::time::Duration;

/// Characters that a fast speaker says in a second. What is longer for its speech was not said.
const FASTEST: f64 = 25.0;

/// Speech that even one word takes, in seconds.
const SHORTEST: f64 = 0.25;

/// Repetitions from which on a passage is a loop, where it is too long for its speech.
const LOOP: usize = 3;

/// What Whisper was trained to write at the end of videos: credits, which nobody says to an agent.
const CREDITS: &[&str] = &[
    "subtitles by",
    "subtitled by",
    "subtitles made by",
    "captions by",
    "captioned by",
    "closed captioning by",
    "transcription by",
    "transcribed by",
    "translated by",
    "untertitel von",
    "untertitel der",
    "untertitelung",
    "untertitel im auftrag",
    "sous titres",
    "sous titrage",
    "sottotitoli",
    "sottotitoli creati dalla",
    "subtitulos por",
    "subtítulos por",
    "subtítulos realizados por",
    "legendas pela comunidade",
    "napisy stworzone przez",
    "ondertitels ingediend door",
    "субтитры",
    "редактор субтитров",
    "字幕",
];

/// What it writes where it hears nothing, and somebody may well say.
const COURTESIES: &[&str] = &[
    "you",
    "thank you",
    "thanks",
    "thank you very much",
    "thank you so much",
    "thank you for watching",
    "thanks for watching",
    "thank you for listening",
    "thanks for listening",
    "please subscribe",
    "please subscribe to my channel",
    "like and subscribe",
    "dont forget to like and subscribe",
    "see you next time",
    "see you in the next video",
    "ill see you in the next video",
    "bye",
    "bye bye",
    "goodbye",
    "okay",
    "ok",
    "yeah",
    "oh",
    "so",
    "hmm",
    "uh",
    "um",
    "the",
    "i",
    "amen",
    "vielen dank",
    "danke",
    "danke schön",
    "tschüss",
    "merci",
    "merci davoir regardé cette vidéo",
    "gracias",
    "gracias por ver el video",
    "obrigado",
    "grazie",
    "grazie a tutti",
    "dziękuję",
    "спасибо за просмотр",
    "продолжение следует",
    "ご視聴ありがとうございました",
    "谢谢观看",
    "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    "시청해주셔서 감사합니다",
];

/// What is written in brackets for sounds that are no speech; a sound's description may have more words around one of these.
const SOUNDS: &[&str] = &[
    "blank audio",
    "no audio",
    "no speech",
    "silence",
    "silent",
    "music",
    "musik",
    "musique",
    "música",
    "musica",
    "applause",
    "applaus",
    "laughter",
    "laughs",
    "laughing",
    "laugh",
    "chuckles",
    "chuckling",
    "giggles",
    "sigh",
    "sighs",
    "sighing",
    "cough",
    "coughs",
    "coughing",
    "sneezes",
    "sniffs",
    "sniffling",
    "breathing",
    "breathes",
    "gasps",
    "inaudible",
    "unintelligible",
    "indistinct",
    "crosstalk",
    "noise",
    "noises",
    "static",
    "wind",
    "wind blowing",
    "typing",
    "keyboard",
    "keyboard clicking",
    "clicking",
    "clicks",
    "click",
    "beep",
    "beeping",
    "beeps",
    "clears throat",
    "clearing throat",
    "throat clearing",
    "door closes",
    "footsteps",
    "phone ringing",
    "birds chirping",
    "foreign",
    "foreign language",
    "speaking foreign language",
    "speaking in foreign language",
    "speaks in foreign language",
    "upbeat music",
    "dramatic music",
    "soft music",
    "background noise",
    "background music",
    "clapping",
    "screaming",
    "cheering",
    "crowd chattering",
    "video playback",
    "end playback",
    "pause",
    "snoring",
    "humming",
    "whistling",
    "mouse clicking",
    "gentle music",
    "no sound",
    "sound",
];

/// Signs that stand for music.
const NOTES: [char; 5] = ['♪', '♫', '♬', '♩', '🎵'];

/// The text without what stands for sounds; `None` where what is left was not said.
///
/// `speech` is how much of the recording is speech by [`crate::audio::summary`]. It decides where a text is one that a person may
/// say as well: "thank you" stays where it had the time to be said.
pub fn plausible(text: &str, speech: Duration) -> Option<String> {
    let text = without_sounds(text);
    let text = without_loops(text, speech);
    let words = words(&text);
    if words.is_empty() || is_credit(&words) {
        return None;
    }
    if COURTESIES.contains(&words.as_str()) && !had_time(&words, speech) {
        return None;
    }
    Some(text)
}

/// Whether so much could be said in this time.
fn had_time(text: &str, speech: Duration) -> bool {
    speech.as_secs_f64() >= (text.chars().count() as f64 / FASTEST).max(SHORTEST)
}

/// Letters, digits and single spaces in lower case, by which texts are compared.
fn words(text: &str) -> String {
    let letters: String = text
        .to_lowercase()
        .chars()
        .filter(|c| !matches!(c, '\'' | '’'))
        .map(|c| if c.is_alphanumeric() { c } else { ' ' })
        .collect();
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_credit(words: &str) -> bool {
    // The whole text begins with it: a task may well be about subtitles.
    CREDITS.iter().any(|credit| words.starts_with(credit) && words.split(' ').count() <= 12 && !is_order(words, credit))
}

/// "Untertitel" and the like begin sentences too; a credit names somebody and ends.
fn is_order(words: &str, credit: &str) -> bool {
    !credit.contains(' ') && words.split(' ').count() > 6
}

/// Removes brackets of any kind around a sound's description, and notes with what is between them.
fn without_sounds(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| matches!(c, '[' | '(' | '*' | '（' | '【') || NOTES.contains(&c)) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let opening = from.chars().next().unwrap_or_default();
        let inside = &from[opening.len_utf8()..];
        let closed = match opening {
            '[' => inside.find(']').map(|end| (end, 1)),
            '(' => inside.find(')').map(|end| (end, 1)),
            '*' => inside.find('*').map(|end| (end, 1)),
            '（' => inside.find('）').map(|end| (end, '）'.len_utf8())),
            '【' => inside.find('】').map(|end| (end, '】'.len_utf8())),
            note => inside.rfind(NOTES).map(|end| (end, note.len_utf8())),
        };
        match closed {
            Some((end, closing)) if NOTES.contains(&opening) || is_sound(&inside[..end]) => {
                let closing = inside[end..].chars().next().map_or(closing, char::len_utf8);
                rest = &inside[end + closing..];
            }
            None if NOTES.contains(&opening) => rest = inside,
            _ => {
                kept.push(opening);
                rest = inside;
            }
        }
    }
    kept.push_str(rest);
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_sound(described: &str) -> bool {
    let described = words(&described.replace('_', " "));
    SOUNDS.contains(&described.as_str()) || {
        // "loud music playing": few words, one of which is a sound.
        let parts: Vec<&str> = described.split(' ').collect();
        (2..=4).contains(&parts.len())
            && (parts.ends_with(&["playing"]) || parts.ends_with(&["continues"]) || parts.ends_with(&["language"]))
            && parts.iter().any(|part| matches!(*part, "music" | "foreign" | "song" | "sound" | "noise"))
    }
}

/// A passage that is said over and over becomes one, where the text is too long to have been said.
///
/// A decoder that finds no end repeats itself until its window is full. Digits that somebody dictates repeat too, but take time.
fn without_loops(text: String, speech: Duration) -> String {
    if had_time(&text, speech) {
        return text;
    }
    let all: Vec<&str> = text.split(' ').collect();
    let compared: Vec<String> = all.iter().map(|word| words(word)).collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let looped = (1..=12).find_map(|length| {
            let times = repetitions(&compared[at..], length);
            (times >= LOOP).then_some((length, times))
        });
        match looped {
            Some((length, times)) => {
                kept.extend_from_slice(&all[at..at + length]);
                at += length * times;
            }
            None => {
                kept.push(all[at]);
                at += 1;
            }
        }
    }
    kept.join(" ")
}

/// How often the first so many words follow each other from the beginning.
fn repetitions(words: &[String], length: usize) -> usize {
    let Some(first) = words.get(..length) else { return 0 };
    words.chunks_exact(length).take_while(|passage| *passage == first).count()
}

#[cfg(test)]
#[path = "plausible_tests.rs"]
mod tests;
