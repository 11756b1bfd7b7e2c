//! What a text costs of Whisper's prompt.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// An upper bound of the tokens that Whisper's tokenizers, the English and the multilingual one, make of a text that follows
/// a space. It is never below the true number, and for identifiers about twice it.
///
/// Both are byte-pair encodings on bytes: nothing is more tokens than it has bytes, and that is what digits, marks and letters
/// beyond ASCII are counted as. A run of ASCII letters with the space before it is encoded by itself, and two neighbours that
/// make a token together are always merged. Of all divisions into what may be a token of either vocabulary, without
/// neighbours that make a token of both, the longest is the bound; tokens are known up to three characters, and whatever is
/// longer may be one.
pub fn tokens_at_most(text: &str) -> usize {
    let text = text.as_bytes();
    let (mut at, mut tokens) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let space = byte == b' ' && text.get(at + 1).is_some_and(u8::is_ascii_alphabetic);
        if !space && !byte.is_ascii_alphabetic() {
            at += 1;
            tokens += 1;
            continue;
        }
        let letters = text.iter().skip(at + 1).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let run = text.get(at..=at + letters).unwrap_or_default();
        // `'re`, `'ll` and their like are cut off the letters that follow; so rare that each letter is counted.
        let after_apostrophe = at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\'');
        tokens += if after_apostrophe { run.len() } else { longest_division(run) };
        at += run.len();
    }
    tokens
}

/// The most tokens that a run of letters may be left as. `longest[n]` is that of the part read so far with a last token of `n`
/// bytes, four standing for all that are longer; such may be anything.
fn longest_division(run: &[u8]) -> usize {
    let mut history: Vec<[Option<usize>; 5]> = vec![[Some(0), None, None, None, None]];
    for end in 1..=run.len() {
        let mut longest: [Option<usize>; 5] = [None; 5];
        for (last, most) in longest.iter_mut().enumerate().take(end + 1).skip(1) {
            let piece = run.get(end - last..end).unwrap_or_default();
            if (2..=3).contains(&last) && !TOKENS.contains_key(piece) {
                continue;
            }
            // A token longer than four: what begins there began earlier.
            let mut best = if last == 4 { history.get(end - 1).and_then(|before| before[4]) } else { None };
            let Some(before) = history.get(end - last) else { continue };
            for (size, count) in before.iter().enumerate() {
                let Some(count) = count else { continue };
                let together = size > 0 && size + last <= 3;
                if together && TOKENS.get(run.get(end - last - size..end).unwrap_or_default()) == Some(&true) {
                    continue;
                }
                best = best.max(Some(count + 1));
            }
            *most = best;
        }
        history.push(longest);
    }
    // No division at all cannot be, since bytes merge from single ones; were it so, each byte would be counted.
    history.last().and_then(|longest| longest.iter().flatten().max().copied()).unwrap_or(run.len())
}

/// Short tokens, and whether both vocabularies have them.
static TOKENS: LazyLock<HashMap<Vec<u8>, bool, RandomState>> = LazyLock::new(|| {
    let text = include_str!("data/tokens.txt");
    let tokens = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    let entry = |token: &str| (token.trim_start_matches('?').replace('-', " ").into_bytes(), !token.starts_with('?'));
    tokens.map(entry).collect()
});

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Encodes as `tiktoken` does: of all neighbours that make a token together the lowest in rank is merged, until none does.
    fn encode(text: &str, rank: impl Fn(&[u8]) -> Option<u64>) -> usize {
        let text = text.as_bytes();
        // The pieces that are encoded each by itself: a space and letters, or else a byte.
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for &byte in text {
            match pieces.last_mut() {
                Some(piece)
                    if byte.is_ascii_alphabetic()
                        && piece.last().is_some_and(|b| b.is_ascii_alphabetic() || *b == b' ') =>
                {
                    piece.push(byte);
                }
                _ => pieces.push(vec![byte]),
            }
        }
        let mut count = 0;
        for piece in pieces {
            let mut parts: Vec<Vec<u8>> = piece.iter().map(|byte| vec![*byte]).collect();
            loop {
                let pairs = parts.windows(2).enumerate();
                let best = pairs.filter_map(|(at, pair)| Some((rank(&pair.concat())?, at))).min();
                let Some((_, at)) = best else { break };
                let next = parts.remove(at + 1);
                parts[at].extend(next);
            }
            count += parts.len();
        }
        count
    }

    #[test]
    fn names_cost_about_half_of_their_letters() {
        for (name, most) in
            [(" useEffect", 5), (" SaveUploadedFile", 10), (" tokio", 3), (" the", 2), (", a_b", 4), ("é", 2)]
        {
            assert!((1..=most).contains(&tokens_at_most(name)), "{name:?}: {}", tokens_at_most(name));
        }
        assert_eq!(tokens_at_most(""), 0);
    }

    proptest! {
        /// Both vocabularies have the tokens that are known of both, some of the others, and any longer ones.
        #[test]
        fn no_byte_pair_encoding_makes_more(
            text in "( ?[a-zA-Z]{1,14}[_0-9,]?){1,5}",
            longer in proptest::collection::vec((0_usize..60, 4_usize..12), 0..12),
            seed in any::<u64>(),
        ) {
            let bytes = text.as_bytes();
            let longer: HashSet<&[u8]> =
                longer.iter().filter_map(|(start, length)| bytes.get(*start..start + length)).collect();
            let order = |bytes: &[u8]| bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
            let count = encode(&text, |token| {
                let has = match TOKENS.get(token) {
                    Some(true) => true,
                    Some(false) => order(token) % 2 == 0,
                    None => longer.contains(token),
                };
                has.then(|| order(token) >> 3)
            });
            prop_assert!(tokens_at_most(&text) >= count, "{} < {count}", tokens_at_most(&text));
        }

        #[test]
        fn any_text_has_a_bound_that_is_no_more_than_its_bytes(text in "\\PC{0,80}") {
            prop_assert!(tokens_at_most(&text) <= text.len());
            prop_assert_eq!(tokens_at_most(&text) == 0, text.is_empty());
        }
    }
}
