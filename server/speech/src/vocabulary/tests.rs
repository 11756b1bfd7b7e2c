//! Stories of a scanner over real directories and repositories.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A directory with a place for the cache outside of it.
struct Tree {
    root: TempDir,
    cache: TempDir,
}

impl Tree {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() }
    }

    fn repository() -> Self {
        let tree = Self::new();
        tree.git(&["init", "-q", "-b", "main"]);
        tree
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=someone", "-c", "user.email=someone@localhost", "-c", "commit.gpgSign=false"]);
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.cache.path());
        assert!(
            command.env("PATH", std::env::var_os("PATH").unwrap()).status().unwrap().success(),
            "git {arguments:?}"
        );
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "work"]);
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(self.path(), self.cache.path()).unwrap()
    }

    fn ready(&self) -> Vocabulary {
        self.scanner().ready(&[]).unwrap()
    }
}

fn place(vocabulary: &Vocabulary, name: &str) -> usize {
    let place = vocabulary.terms.iter().position(|term| term.text == name);
    place.unwrap_or_else(|| panic!("{name} is not in {:?}", vocabulary.terms))
}

fn kind(vocabulary: &Vocabulary, name: &str) -> TermKind {
    vocabulary.terms[place(vocabulary, name)].kind
}

fn has(vocabulary: &Vocabulary, name: &str) -> bool {
    vocabulary.names().any(|known| known == name)
}

fn complete(scanner: &mut Scanner) {
    while scanner.complete(Duration::from_secs(5)).unwrap() > 0 {}
}

#[test]
fn a_repository_has_identifiers_dependencies_paths_branches_and_tasks() {
    let tree = Tree::repository();
    tree.write("Cargo.toml", "[dependencies]\ntokio = \"1\"\n");
    tree.write("src/lease_queue.rs", "pub struct TaskStore;\nimpl TaskStore { pub fn claim_next(&self) {} }\n");
    tree.commit();
    tree.git(&["switch", "-q", "-c", "fix-heartbeat"]);
    let vocabulary = tree.scanner().ready(&["Make the fanout\tbounded".to_owned()]).unwrap();
    assert_eq!(kind(&vocabulary, "TaskStore"), TermKind::Identifier);
    assert_eq!(kind(&vocabulary, "claim_next"), TermKind::Identifier);
    assert_eq!(kind(&vocabulary, "tokio"), TermKind::Dependency);
    assert_eq!(kind(&vocabulary, "lease_queue.rs"), TermKind::Path);
    assert_eq!(kind(&vocabulary, "src"), TermKind::Path);
    assert_eq!(kind(&vocabulary, "fix-heartbeat"), TermKind::Branch);
    assert_eq!(kind(&vocabulary, "Make the fanout bounded"), TermKind::Task);
    assert!(place(&vocabulary, "fix-heartbeat") < place(&vocabulary, "main"), "the branch that is checked out");
    assert!(!has(&vocabulary, "Make the fanout bounded"), "a sentence is no name");
    assert!(!has(&vocabulary, "self") && !has(&vocabulary, "impl"), "{vocabulary:?}");
}

#[test]
fn what_is_worked_on_comes_first() {
    let tree = Tree::repository();
    for (file, name) in [("old", "OldParser"), ("branch", "OtherThing"), ("edited", "LastThing")] {
        tree.write(&format!("{file}.rs"), format!("pub struct {name};\n"));
    }
    tree.commit();
    // So many other commits that the first one counts no more as recent.
    for number in 0..210 {
        tree.git(&["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
    }
    tree.git(&["switch", "-q", "-c", "feature"]);
    tree.write("branch.rs", "pub struct BranchThing;\n");
    tree.commit();
    tree.git(&["switch", "-q", "-c", "other"]);
    tree.write("edited.rs", "pub struct EditedThing;\n");
    tree.write("not yet added.rs", "pub struct UntrackedThing;\n");
    let vocabulary = tree.ready();
    let order = ["EditedThing", "BranchThing", "OldParser"].map(|name| place(&vocabulary, name));
    assert!(order.is_sorted(), "{vocabulary:?}");
    assert!(place(&vocabulary, "UntrackedThing") < place(&vocabulary, "BranchThing"));
}

#[test]
fn a_task_brings_what_it_names() {
    let tree = Tree::new();
    tree.write("a.rs", "pub fn spawn_host() {}\npub fn spawn_tree() {}\n");
    let mut scanner = tree.scanner();
    let plain = scanner.ready(&[]).unwrap();
    let told = scanner.vocabulary(&["Why does spawn_tree hang?".to_owned()]);
    assert!(place(&plain, "spawn_host") < place(&plain, "spawn_tree"));
    assert!(place(&told, "spawn_tree") < place(&told, "spawn_host"));
}

#[test]
fn definitions_weigh_more_than_what_everybody_calls() {
    let tree = Tree::new();
    for number in 0..30 {
        tree.write(
            &format!("part{number}.rs"),
            "use std::collections::HashMap; fn x() { HashMap::new(); PathBuf::new() }",
        );
    }
    tree.write("store.rs", "struct LeaseTable; struct Other { table: LeaseTable }");
    let mut scanner = tree.scanner();
    scanner.ready(&[]).unwrap();
    complete(&mut scanner);
    let vocabulary = scanner.vocabulary(&[]);
    assert!(place(&vocabulary, "LeaseTable") < place(&vocabulary, "HashMap"));
}

#[test]
fn an_edit_a_new_file_and_a_removed_one_are_taken_in() {
    let tree = Tree::repository();
    tree.write("a.rs", "pub struct FirstName;");
    tree.write("b.rs", "pub struct SecondName;");
    tree.commit();
    let mut scanner = tree.scanner();
    scanner.ready(&[]).unwrap();
    complete(&mut scanner);
    // Of the same length, and so close that a clock might not show it.
    tree.write("a.rs", "pub struct ThirdName;");
    tree.write("c/d.rs", "pub struct FourthName;");
    std::fs::remove_file(tree.path().join("b.rs")).unwrap();
    let vocabulary = scanner.ready(&[]).unwrap();
    let known = ["FirstName", "SecondName", "ThirdName", "FourthName"].map(|name| has(&vocabulary, name));
    assert_eq!(known, [false, false, true, true]);
    assert_eq!(vocabulary, tree.ready(), "as one that begins anew sees it");
}

#[test]
fn a_new_branch_is_seen_again_and_an_old_one_forgotten() {
    let tree = Tree::repository();
    tree.write("a.rs", "pub struct FirstName;");
    tree.commit();
    let mut scanner = tree.scanner();
    assert!(has(&scanner.ready(&[]).unwrap(), "main"));
    tree.git(&["branch", "-m", "trunk-two"]);
    let vocabulary = scanner.ready(&[]).unwrap();
    assert!(has(&vocabulary, "trunk-two") && !has(&vocabulary, "main"));
}

#[test]
fn what_was_found_is_kept_for_the_next_program() {
    let tree = Tree::repository();
    for number in 0..20 {
        tree.write(
            &format!("part{number}.go"),
            format!("package parts\nfunc (p *Part) HandleThing{}() {{}}", "X".repeat(number)),
        );
    }
    tree.commit();
    let mut scanner = tree.scanner();
    scanner.ready(&[]).unwrap();
    complete(&mut scanner);
    let mut next = tree.scanner();
    assert_eq!(next.ready(&[]).unwrap(), scanner.vocabulary(&[]));
    assert_eq!(next.complete(Duration::ZERO).unwrap(), 0, "nothing is parsed again");
}

/// Each broken cache is as none.
#[test]
fn a_broken_cache_is_built_anew_without_a_word() {
    let tree = Tree::new();
    tree.write("a.rs", "pub struct FirstName;");
    let mut scanner = tree.scanner();
    let expected = scanner.ready(&[]).unwrap();
    complete(&mut scanner);
    let directory = tree.cache.path().join("vocabulary");
    let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    };
    for broken in
        [vec![], sound[..sound.len() / 2].to_vec(), flipped(0), flipped(40), flipped(sound.len() - 1), vec![b'x'; 9]]
    {
        std::fs::write(&file, broken).unwrap();
        let mut scanner = tree.scanner();
        assert_eq!(scanner.ready(&[]).unwrap(), expected);
        complete(&mut scanner);
        assert_eq!(std::fs::read(&file).unwrap().len(), sound.len(), "and written again");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(tree.ready(), expected);
}

#[test]
fn a_cache_that_cannot_be_written_is_told_and_harms_nothing() {
    let tree = Tree::new();
    tree.write("a.rs", "pub struct FirstName;");
    let blocked = tree.cache.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let mut scanner = Scanner::new(tree.path(), &blocked).unwrap();
    assert!(has(&scanner.ready(&[]).unwrap(), "FirstName"));
    let error = scanner.complete(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, VocabularyError::Cache { .. }), "{error}");
    assert!(has(&scanner.vocabulary(&[]), "FirstName"));
}

/// More files than are parsed for a first answer, so that what is left would show.
#[test]
fn a_switch_of_the_branch_and_back_parses_nothing_again() {
    let tree = Tree::repository();
    let write = |version: &str| {
        for number in 0..100 {
            let name = format!("{version}Handler{}", "X".repeat(number % 40));
            tree.write(
                &format!("part{number}.go"),
                format!("package parts\nfunc (p *Part) {name}() {{}} // {number}\n"),
            );
        }
    };
    write("Old");
    tree.commit();
    let mut scanner = tree.scanner();
    scanner.ready(&[]).unwrap();
    assert!(scanner.complete(Duration::ZERO).unwrap() > 0, "too few files for this story");
    complete(&mut scanner);
    let before = scanner.vocabulary(&[]);
    write("New");
    assert!(has(&scanner.ready(&[]).unwrap(), "NewHandler"));
    complete(&mut scanner);
    write("Old");
    assert_eq!(scanner.ready(&[]).unwrap(), before);
    assert_eq!(scanner.complete(Duration::ZERO).unwrap(), 0);
}

#[cfg(unix)]
#[test]
fn hostile_trees_are_survived() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::repository();
    tree.write("fine.rs", "pub struct FineName;");
    for name in [&b"new\nline.rs"[..], b"bad\xff\xfe.rs", b"-rf.rs", b"$(touch x).rs", b"  .rs", b"\xe2\x80\xae.py"] {
        std::fs::write(tree.path().join(std::ffi::OsStr::from_bytes(name)), "pub struct OddlyNamed;").unwrap();
    }
    tree.write("bytes.rs", b"pub struct \xff\xfe; struct AfterBytes;");
    tree.write("line.js", format!("var hugeLine = '{}'; function afterLine() {{}}", "x1".repeat(200_000)));
    tree.write("large.rs", "struct TooLarge;\n".repeat(100_000));
    tree.write("words.rs", (0..100_000).map(|n| format!("w{} ", "x".repeat(n % 60))).collect::<String>());
    tree.write("deep.rs", "(".repeat(3_000));
    let mut deep = tree.path().to_owned();
    for _ in 0..200 {
        deep.push("deeper");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("a.rs"), "pub struct FarDown;").unwrap();
    std::os::unix::fs::symlink(tree.path(), tree.path().join("loop")).unwrap();
    for manifest in ["Cargo.toml", "package.json", "go.mod", "pyproject.toml", "pom.xml", "build.gradle", "Gemfile"] {
        tree.write(manifest, b"{[(\"\xff '''require (\n<artifactId>gem \"");
    }
    assert!(Command::new("mkfifo").arg(tree.path().join("pipe.rs")).status().unwrap().success());
    let mut scanner = tree.scanner();
    let vocabulary = scanner.ready(&["\u{1b}[31m\0\n".to_owned(), String::new(), "x".repeat(100_000)]).unwrap();
    complete(&mut scanner);
    for vocabulary in [vocabulary, scanner.vocabulary(&[])] {
        for name in ["FineName", "OddlyNamed", "AfterBytes", "afterLine"] {
            assert!(has(&vocabulary, name), "{name}");
        }
        assert!(!has(&vocabulary, "TooLarge") && !has(&vocabulary, "FarDown"));
        assert!(vocabulary.terms.iter().all(|term| !term.text.chars().any(char::is_control)), "{vocabulary:?}");
        assert!(vocabulary.terms.iter().all(|term| term.text.len() <= 500 && term.weight.is_finite()));
    }
    assert!(!tree.path().join("x").exists());
}

#[test]
fn what_vanishes_between_two_looks_does_not_matter() {
    let tree = Tree::new();
    tree.write("a.py", "class FirstName: pass");
    tree.write("b.py", "class SecondName: pass");
    let mut scanner = tree.scanner();
    scanner.ready(&[]).unwrap();
    std::fs::remove_file(tree.path().join("a.py")).unwrap();
    complete(&mut scanner);
    assert!(!has(&scanner.ready(&[]).unwrap(), "FirstName"));
    std::fs::remove_dir_all(tree.path()).unwrap();
    assert!(matches!(scanner.ready(&[]), Err(VocabularyError::NotADirectory(_))));
    assert!(matches!(Scanner::new(tree.path(), tree.cache.path()), Err(VocabularyError::Root { .. })));
}

#[test]
fn a_directory_within_a_repository_has_only_its_own() {
    let tree = Tree::repository();
    tree.write("web/a.ts", "export class WebThing {}");
    tree.write("other/b.ts", "export class OtherThing {}");
    tree.commit();
    tree.write("web/a.ts", "export class WebThingEdited {}");
    tree.write("web/c.ts", "export class MoreThings {}");
    let mut scanner = Scanner::new(&tree.path().join("web"), tree.cache.path()).unwrap();
    let vocabulary = scanner.ready(&[]).unwrap();
    assert!(has(&vocabulary, "WebThingEdited") && !has(&vocabulary, "OtherThing"));
    let [edited, new] = ["WebThingEdited", "MoreThings"].map(|name| vocabulary.terms[place(&vocabulary, name)].weight);
    assert!(edited > 10.0 && new > 10.0, "they are worked on: {vocabulary:?}");
}

#[test]
fn a_repository_without_commits_and_a_directory_without_git_work() {
    for tree in [Tree::repository(), Tree::new()] {
        tree.write("a.rs", "pub struct FirstName;");
        assert!(has(&tree.ready(), "FirstName"));
    }
    assert_eq!(Tree::new().ready(), Vocabulary::default());
}

fn terms() -> impl Strategy<Value = Vec<Term>> {
    let kind = prop_oneof![
        4 => Just(TermKind::Identifier),
        1 => Just(TermKind::Path),
        1 => Just(TermKind::Branch),
        1 => Just(TermKind::Task)
    ];
    let text = prop_oneof!["[a-zA-Z_]{3,20}", "[a-z]{2,9}[-/ .][a-z0-9]{2,9}", "\\PC{1,30}"];
    let term = (text, kind).prop_map(|(text, kind)| Term { text, kind, weight: 1.0 });
    proptest::collection::vec(term, 0..80)
}

proptest! {
    #[test]
    fn a_prompt_keeps_to_its_budget_and_ends_with_the_best(terms in terms(), max in 0_usize..300) {
        let vocabulary = Vocabulary { terms };
        let prompt = vocabulary.prompt(max);
        let tokens = tokens_at_most(&[" ", &prompt].concat());
        prop_assert!(prompt.is_empty() || tokens <= max, "{tokens} > {max}");
        if let Some(first) = vocabulary.terms.first().filter(|term| term.kind == TermKind::Identifier)
            && tokens_at_most(&[" ", &first.text].concat()) < max
        {
            prop_assert!(prompt.ends_with(&first.text));
        }
    }

    #[test]
    fn keyterms_are_the_first_names(terms in terms(), max in 0_usize..100) {
        let vocabulary = Vocabulary { terms };
        let names: Vec<&str> = vocabulary.names().take(max).collect();
        prop_assert_eq!(vocabulary.keyterms(max), names);
    }
}
