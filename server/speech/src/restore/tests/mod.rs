#![allow(clippy::unwrap_used)]

mod figures;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Lexicon, Restored};

const NAMES: [&str; 33] = [
    "useEffect",
    "SaveUploadedFile",
    "stream_with_context",
    "FastifyInstance",
    "uuid",
    "user_name",
    "UserName",
    "userName",
    "addUser",
    "src/app.ts",
    "README.md",
    "MAX_RETRIES",
    "sha256",
    "base64_encode",
    "Utf8Error",
    "parseJSON",
    "URLSearchParams",
    "write_bytes",
    "async_handler",
    "getCache",
    "error",
    "name",
    "user",
    "state",
    "file",
    "Blueprint",
    "test_client",
    "app",
    "no-unused-vars",
    "is_valid",
    "statusCode",
    "feature/login-form",
    "CacheControl",
];

fn lexicon() -> Lexicon {
    Lexicon::new(&NAMES.map(String::from), &[])
}

fn restored(text: &str) -> String {
    lexicon().restore(text).text
}

#[test]
fn identifiers_come_back_as_the_repository_writes_them() {
    let table = [
        ("Fix the cleanup of use effect in the settings page.", "Fix the cleanup of useEffect in the settings page."),
        ("make save uploaded file create the directory", "make SaveUploadedFile create the directory"),
        ("Does stream with context, too, fail?", "Does stream_with_context, too, fail?"),
        ("the fastify instance's types are wrong", "the FastifyInstance's types are wrong"),
        ("raise max retries to five", "raise MAX_RETRIES to five"),
        ("replace utf eight error", "replace Utf8Error"),
        ("call base 64 encode and sha two five six", "call base64_encode and sha256"),
        ("parse j s o n loses the order of keys", "parseJSON loses the order of keys"),
        ("pass URL search params to it", "pass URLSearchParams to it"),
        ("disable no unused vars here", "disable no-unused-vars here"),
        ("rebase onto feature slash login dash form", "rebase onto feature/login-form"),
    ];
    for (said, expected) in table {
        assert_eq!(restored(said), expected);
    }
}

#[test]
fn what_was_misheard_is_found_by_its_sound() {
    let table = [
        ("type the fast defy instance properly", "type the FastifyInstance properly"),
        ("why does use affect run twice", "why does useEffect run twice"),
        ("the you ID column", "the uuid column"),
        ("rename right bytes to something else", "rename write_bytes to something else"),
        ("wrap it in a sink handler", "wrap it in async_handler"),
        ("rename save uploads file please", "rename SaveUploadedFile please"),
    ];
    for (said, expected) in table {
        assert_eq!(restored(said), expected);
    }
}

#[test]
fn a_short_name_of_which_one_word_was_misheard_is_found_by_the_other() {
    let names = ["whereIn", "orderBy", "users"].map(String::from);
    assert_eq!(Lexicon::new(&names, &[]).restore("fix the wear in method").text, "fix the whereIn method");
}

#[test]
fn what_was_heard_goes_before_what_sounds_like_its_end_and_the_next_word() {
    let names = ["SetCookie", "SameSite"].map(String::from);
    let restored = Lexicon::new(&names, &[]).restore("add support for the same site cookie flag").text;
    assert_eq!(restored, "add support for the SameSite cookie flag");
}

#[test]
fn what_is_told_to_do_is_no_part_of_the_name() {
    let names = ["addQueryContext", "queryContext"].map(String::from);
    let restored = Lexicon::new(&names, &[]).restore("Add query context to type declarations").text;
    assert_eq!(restored, "Add queryContext to type declarations");
}

#[test]
fn a_preposition_before_a_misheard_name_does_not_take_its_first_word() {
    let names = ["toObject", "ObjectUtils"].map(String::from);
    let restored = Lexicon::new(&names, &[]).restore("Add methods to object util to get names").text;
    assert_eq!(restored, "Add methods to ObjectUtils to get names");
}

#[test]
fn a_class_has_the_members_where_values_are_in_snake_case() {
    let python = ["request", "get_json", "make_response", "Request", "handler_map", "app"].map(String::from);
    let typescript = ["request", "getJson", "makeResponse", "Request", "handlerMap", "app"].map(String::from);
    for (names, said, expected) in [
        (&python, "request dot get json caches", "Request.get_json caches"),
        (&typescript, "request dot get json caches", "request.getJson caches"),
        (&python, "a handler from app dot make response", "a handler from app.make_response"),
    ] {
        assert_eq!(Lexicon::new(names, &[]).restore(said).text, expected);
    }
    // A variable that is used much more often is meant all the same.
    let many: Vec<String> = python[..3].iter().cloned().chain((0..200).map(|n| format!("field_{n}"))).collect();
    let names: Vec<String> = many.into_iter().chain([String::from("Request")]).collect();
    assert_eq!(Lexicon::new(&names, &[]).restore("request dot get json caches").text, "request.get_json caches");
}

#[test]
fn special_methods_are_spoken_without_their_underscores() {
    let names = ["Flask", "__init__"].map(String::from);
    let restored = Lexicon::new(&names, &[]).restore("Flask dot init accepts a host").text;
    assert_eq!(restored, "Flask.__init__ accepts a host");
}

#[test]
fn ordinary_words_stay_as_they_are() {
    for said in [
        "add user to the group",
        "Add user authentication to the login page",
        "the error has no name, and the user does not know the state of the file",
        "write tests for the new page and fix what fails",
        "Check whether the input is valid",
        "How is the task doing?",
        "stop it",
        "please use the blueprint of the house as the cover image",
        "In this app, point at the dot on the map and slash the price by half",
    ] {
        assert_eq!(lexicon().restore(said), Restored { text: said.to_owned(), changes: Vec::new() });
    }
}

#[test]
fn signs_and_paths_are_spoken() {
    let table = [
        ("open source slash app dot t s", "open src/app.ts"),
        ("update read me dot m d", "update README.md"),
        ("run it with dash dash verbose", "run it with --verbose"),
        ("run it with dash dash dry dash run, please", "run it with --dry-run, please"),
        ("mock app dot test client", "mock app.test_client"),
        ("create source slash lib slash parser dot r s", "create src/lib/parser.rs"),
        ("call it total underscore count", "call it total_count"),
    ];
    for (said, expected) in table {
        assert_eq!(restored(said), expected);
    }
}

#[test]
fn a_case_can_be_asked_for() {
    let table = [
        ("rename it camel case user name", "rename it userName"),
        ("rename it snake case total count", "rename it total_count"),
        ("a struct pascal case page cursor with two fields", "a struct PageCursor with two fields"),
        ("the class name kebab case primary button", "the class name primary-button"),
        ("screaming snake case page size", "PAGE_SIZE"),
        ("convert the keys to camel case in the response", "convert the keys to camel case in the response"),
    ];
    for (said, expected) in table {
        assert_eq!(restored(said), expected);
    }
}

#[test]
fn a_cue_tells_which_spelling_is_meant() {
    assert_eq!(restored("rename the user name class"), "rename the UserName class");
    assert_eq!(restored("the user name field is empty"), "the user_name field is empty");
    assert_eq!(restored("return a user name instance"), "return a UserName instance");
    assert_eq!(restored("drop the user name values"), "drop the user_name values");
    assert_eq!(restored("register the blueprint class"), "register the Blueprint class");
    assert_eq!(restored("the class that holds the blueprint"), "the class that holds the blueprint");
}

#[test]
fn what_the_user_wants_replaced_goes_first() {
    let replacements = [("cube cuddle", "kubectl"), ("use effect", "the effect hook"), ("cube", "k8s")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    let lexicon = Lexicon::new(&NAMES.map(String::from), &replacements);
    assert_eq!(lexicon.restore("Cube Cuddle and cube, but not cubes").text, "kubectl and k8s, but not cubes");
    assert_eq!(lexicon.restore("fix use effect").text, "fix the effect hook");
}

#[test]
fn what_is_written_as_code_already_is_left_alone() {
    for said in [
        "Fix useEffect in src/app.ts",
        "run `cargo test --all`",
        "v1.2 of save_file",
        "see https://example.org/add/user?x=1",
    ] {
        assert_eq!(restored(said), said);
    }
}

#[test]
fn changes_tell_what_was_changed_and_where() {
    let restored = lexicon().restore("Größe: use effect und save uploaded file");
    let shown: Vec<_> = restored
        .changes
        .iter()
        .map(|change| (change.from.as_str(), &restored.text[change.at..][..change.to.len()]))
        .collect();
    assert_eq!(shown, [("use effect", "useEffect"), ("save uploaded file", "SaveUploadedFile")]);
}

#[test]
fn sentences_of_projects_that_were_not_tuned_on_are_restored() {
    let projects = figures::projects();
    // In percent: names together, names heard as spoken; at most changed of other projects and of the project's own.
    for (part, together, exact, changed, at_home) in
        [("held out", 90.0, 92.0, 2.0, 2.0), ("untouched", 86.5, 92.0, 3.0, 2.5)]
    {
        let figures = figures::measure(&projects, part);
        assert!(figures.together.percent() >= together, "{part}: {figures:?}");
        assert!(figures.exact.percent() >= exact, "{part}: {figures:?}");
        assert!(figures.changed.percent() <= changed, "{part}: {figures:?}");
        assert!(figures.changed_at_home.percent() <= at_home, "{part}: {figures:?}");
    }
}

#[test]
fn a_large_vocabulary_is_quick() {
    let parts = [
        "user", "file", "cache", "render", "token", "stream", "index", "parse", "queue", "worker", "schema", "route",
        "field", "batch",
    ];
    let names: Vec<String> = (0..50_000_usize)
        .map(|n| format!("{}_{}_{}{}", parts[n % 14], parts[n / 14 % 14], parts[n / 196 % 14], n / 2744))
        .collect();
    let started = Instant::now();
    let lexicon = Lexicon::new(&names, &[]);
    let restored = lexicon.restore("why does user file cache three come up in the token stream queue of the worker");
    // A hundredth of what it may take, in a build without optimisation on a busy machine.
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(restored.text.contains("user_file_cache3"), "{restored:?}");
}

proptest! {
    #[test]
    fn any_text_is_restored_without_loss_around_the_changes(text in "(\\PC|use effect|dot|dash|user| |two|camel case){0,40}") {
        let restored = lexicon().restore(&text);
        // Undone from the last to the first, the changes give the text again.
        let mut undone = restored.text.clone();
        for change in restored.changes.iter().rev() {
            prop_assert_eq!(&undone[change.at..change.at + change.to.len()], change.to.as_str());
            undone.replace_range(change.at..change.at + change.to.len(), &change.from);
        }
        prop_assert_eq!(undone, text);
    }

    #[test]
    fn a_lexicon_without_names_changes_nothing_but_commands(text in "[a-z0-9 ,.\"'’“”äß-]{0,80}") {
        prop_assume!(!["dot", "dash", "hyphen", "underscore", "case"].iter().any(|sign| text.contains(sign)));
        prop_assert_eq!(Lexicon::default().restore(&text).text, text);
    }

    #[test]
    fn any_name_can_be_in_the_lexicon(names in proptest::collection::vec("\\PC{0,12}", 0..20), text in "\\PC{0,40}") {
        Lexicon::new(&names, &[]).restore(&text);
        Lexicon::new(&[], &names.iter().map(|name| (name.clone(), text.clone())).collect::<Vec<_>>()).restore(&text);
    }

    #[test]
    fn what_was_restored_stays(nth in 0..NAMES.len(), before in "(fix|in|the|call|with)", after in "(again|for|is|now)") {
        let text = format!("{before} {} {after}", NAMES[nth]);
        prop_assert_eq!(restored(&text), text);
    }
}
