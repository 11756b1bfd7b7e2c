//! `cadence git-credential`: git's credential helper. It gives what [`super::credentials`] laid into its environment, for the
//! site that git asks for and for no other, and keeps nothing.
//!
//! Source: git-credential(1), "INPUT/OUTPUT FORMAT", and gitcredentials(7), "CUSTOM HELPERS".

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use super::credentials::{CREDENTIALS_VARIABLE, Credential, has_expired, site_of};

/// Most that is read of a question, in bytes.
const LONGEST: u64 = 64 << 10;

/// Answers git's question on stdin; the action is the first argument after `git-credential`.
pub fn run() -> ExitCode {
    let action = std::env::args().nth(2).unwrap_or_default();
    let mut question = Vec::new();
    if std::io::stdin().lock().take(LONGEST).read_to_end(&mut question).is_err() {
        return ExitCode::FAILURE;
    }
    // Nothing is stored or erased, and what else git may ask some day is left alone, as the protocol has it.
    if action != "get" {
        return ExitCode::SUCCESS;
    }
    let held = std::env::var(CREDENTIALS_VARIABLE).unwrap_or_default();
    let held: Vec<Credential> = serde_json::from_str(&held).unwrap_or_default();
    let answer = answer(&held, &String::from_utf8_lossy(&question), SystemTime::now());
    if let Answer::Expired(site) = &answer {
        eprintln!("cadence: the token for {site} has expired");
    }
    match std::io::stdout().lock().write_all(answer.text().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Given(&'a Credential),
    Expired(&'a str),
    /// None of ours: git asks the next helper.
    Unknown,
}

impl Answer<'_> {
    fn text(&self) -> String {
        match self {
            Self::Given(credential) => {
                let expiry = credential.expires_at.map(|at| format!("password_expiry_utc={at}\n")).unwrap_or_default();
                format!("username={}\npassword={}\n{expiry}", credential.username, credential.password)
            }
            // Nobody else has a better one.
            Self::Expired(_) => "quit=1\n".to_owned(),
            Self::Unknown => String::new(),
        }
    }
}

/// Attributes are `key=value` on lines of their own, up to an empty line; of repeated ones the last counts.
fn answer<'a>(held: &'a [Credential], question: &str, now: SystemTime) -> Answer<'a> {
    let (mut protocol, mut host, mut username) = ("", "", None);
    for (key, value) in question.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once('=')) {
        match key {
            "protocol" => protocol = value,
            "host" => host = value,
            "username" => username = Some(value),
            _ => {}
        }
    }
    let site = site_of(&format!("{protocol}://{host}"));
    // What is no host alone may be meant for another one.
    let Some(site) = site.filter(|_| !host.contains(['/', '@', '\\', '?', '#'])) else { return Answer::Unknown };
    match held.iter().find(|credential| credential.site == site) {
        // Asked for another user, as by `https://somebody@host`: what would follow is a password of that one.
        Some(credential) if username.is_some_and(|name| name != credential.username) => Answer::Unknown,
        Some(credential)
            if [&credential.username, &credential.password].iter().any(|text| text.contains(['\n', '\0'])) =>
        {
            Answer::Unknown
        }
        Some(credential) if has_expired(credential.expires_at, now) => Answer::Expired(&credential.site),
        Some(credential) => Answer::Given(credential),
        None => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn held() -> Vec<Credential> {
        let of = |site: &str, expires_at| Credential {
            site: site.to_owned(),
            username: "me".to_owned(),
            password: format!("for {site}"),
            expires_at,
        };
        vec![of("https://github.com", None), of("http://127.0.0.1:8080", Some(1000))]
    }

    fn ask(question: &str, at: u64) -> String {
        answer(&held(), question, UNIX_EPOCH + Duration::from_secs(at)).text()
    }

    #[test]
    fn it_answers_for_its_sites() {
        let given = "username=me\npassword=for https://github.com\n";
        assert_eq!(ask("capability[]=authtype\nprotocol=https\nhost=github.com\npath=a/b\n\n", 0), given);
        assert_eq!(ask("protocol=https\nhost=GitHub.com:443\nusername=me\n", 0), given);
        let local = "username=me\npassword=for http://127.0.0.1:8080\npassword_expiry_utc=1000\n";
        assert_eq!(ask("protocol=http\nhost=127.0.0.1:8080\n", 999), local);
        assert_eq!(ask("protocol=http\nhost=127.0.0.1:8080\n", 1000), "quit=1\n");
    }

    #[test]
    fn it_refuses_all_others() {
        for question in [
            "",
            "protocol=https\n",
            "protocol=http\nhost=github.com\n",
            "protocol=https\nhost=github.com.evil.example\n",
            "protocol=https\nhost=evil.example\npath=github.com\n",
            "protocol=https\nhost=evil.example\nhost=\n",
            "protocol=https\nhost=github.com\nusername=other\n",
            "protocol=https\nhost=github.com\nhost=evil.example\n",
            "protocol=https\nhost=me@github.com\n",
            "protocol=https\nhost=github.com/x\n",
            "\nprotocol=https\nhost=github.com\n",
            "protocol=ssh\nhost=github.com\n",
        ] {
            assert_eq!(ask(question, 0), "", "{question:?}");
        }
    }

    proptest! {
        #[test]
        fn it_gives_nothing_to_strangers(host in "[a-z0-9.:@/%\\[\\]-]{0,24}", noise in "\\PC{0,40}") {
            let known = host == "github.com" || host == "github.com:443" || host == "github.com:";
            let answer = ask(&format!("{noise}\nprotocol=https\nhost={host}\n"), 0);
            prop_assert!(answer.is_empty() || known, "{host}");
            ask(&noise, 0);
        }
    }
}
