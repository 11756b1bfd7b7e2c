/// The words in which an identifier or path is spoken, in lower case: `SaveUploadedFile` is "save uploaded file",
/// `HTTPServer2` is "http server 2".
///
/// Words end where the case rises (`useEffect`), where a run of capitals meets a word (`HTTPServer`), between letters and
/// digits, and at everything that is neither.
pub fn spoken(identifier: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let characters: Vec<char> = identifier.chars().collect();
    for (at, &c) in characters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(at + 1);
        let begins = before.is_some_and(|before| {
            (c.is_uppercase() && before.is_lowercase())
                || (c.is_uppercase() && before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
                || (c.is_numeric() != before.is_numeric())
        });
        if !c.is_alphanumeric() || begins {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::spoken;
    use proptest::prelude::*;

    #[test]
    fn identifiers_are_spoken_in_words() {
        let table = [
            ("useEffect", "use effect"),
            ("SaveUploadedFile", "save uploaded file"),
            ("stream_with_context", "stream with context"),
            ("HTTPServer2", "http server 2"),
            ("parseJSON", "parse json"),
            ("kebab-case-name", "kebab case name"),
            ("src/app.ts", "src app ts"),
            ("utf8", "utf 8"),
            ("MAX_RETRIES", "max retries"),
            ("x", "x"),
            ("__", ""),
            ("straßeÜber", "straße über"),
        ];
        for (identifier, words) in table {
            assert_eq!(spoken(identifier).join(" "), words, "{identifier}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added(text in "\\PC{0,40}") {
            let letters: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
            prop_assert_eq!(spoken(&text).concat(), letters);
            prop_assert!(spoken(&text).iter().all(|word| !word.is_empty()));
        }
    }
}
