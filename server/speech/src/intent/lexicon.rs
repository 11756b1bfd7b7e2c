//! Words by what they tell: work that is asked for, things that software is made of, what is wrong with them.

use std::collections::HashSet;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use super::tokens::Token;

/// Verbs with which work on code is asked for, whatever follows.
const WORK: &str = "
add adapt adjust allow amend analyse analyze annotate append apply approve archive assert attach audit automate avoid backport
backfill benchmark block bring build bump cache calculate capture centralize change check clean cleanup collapse combine comment commit
compare compile complete compress compute configure connect consolidate containerize convert copy correct cover create cut debug
declare decouple deduplicate default define delete deny deploy deprecate describe design detect dig disable disallow discard
display dockerize document download draft drop dump duplicate eliminate email embed emit enable encapsulate encode encrypt enforce
enhance ensure erase escape evaluate examine exclude execute expand explain explore export expose extend extract factor fetch fill
filter finalize find finish fix flag flatten force fork format generate gitignore group guard handle harden hash highlight
hide hoist hook identify ignore implement import improve include increase decrease indent index initialize inject inline insert inspect install
instrument integrate internationalize introduce invalidate investigate isolate kill lazy lint list load localize lock log lower make memoize merge
migrate minify mock modernize modify modularize monitor mount move normalize notify obfuscate omit optimise optimize organize
output override package paginate parallelize parameterize parse patch persist pin plan polish polyfill populate port precompute prefix
prepare preserve prevent profile propagate proofread protect prototype provide prune publish purge push query raise rate rearrange
rebase rebuild recompile reconcile record redact redesign redirect reduce refactor reformat refresh regenerate register reimplement reject
release remove rename render reorder reorganize repair replace replicate report reproduce rerender research resize resolve respect restore
restrict restructure rethink retry return reuse revert review revise rewrite rework roll rotate round route run sanitize save scaffold
schedule scope search secure seed separate serialize serve setup share shorten show shrink silence simplify skip sort speed spec split
squash stabilize standardize store stream streamline strip stub style substitute summarize support suppress swap sync
synchronize tag test throttle tidy toggle trace track transform translate transpile trim troubleshoot try tune tweak typecheck type undo unify uninstall
unset untangle update upgrade use validate vectorize verify version warn whitelist widen wire wrap write debounce
freeze unfreeze allowlist denylist blacklist upload double figure dedupe rip stop pause resume cancel abort terminate halt suspend restart ditch
";

/// Verbs that ask for work only where software is spoken of: "open a pull request", but not "open the window".
const SOFT: &str = "
accept answer ask begin book call catch close collect come continue count decline do draw end get give go grab hold keep launch let limit
look mark match measure name open pass pick play point post pull put quit read reply request require reset send set shut sign simulate
start submit switch take tell think throw turn watch work allow print need draft change check show make try list learn study end
press mention permit refuse hang hit rebuild click confirm cherry-pick spin treat bind map have wait
";

/// Things that software is made of and words that only people who make it say.
const THINGS: &str = "
abstraction accessibility account accounts admin algorithm alias alignment analytics android angular animation api apis app application
apps architecture archive args argument arguments array arrays assertion asset assets async attribute auth authentication authorization autocomplete avatar
aws azure backend background backlog backup badge banner bar bash benchmark benchmarks binary bitmap blob boilerplate boolean border branch branches breadcrumb
breakpoint browser buffer bug bugs build builder builds bundle bundler button buttons byte bytes cache caches caching callback callbacks
canvas captcha card cards carousel cart cell changelog channel char charset chart charts checkbox checkout chunk chunks ci class classes cli
client clipboard clippy clone cloud cluster code codebase collection color colors column columns command commands comment comments commit commits compiler component
components concurrency config configuration configs connection connections console constant constants constraint constructor container containers context controller
controllers cookie cookies cors coverage cpu crash crashes crate credential credentials cron crud css csrf csv cursor cycle daemon dashboard data
database databases dataset datepicker date dates db dbs deadlock debugger decorator default defaults dependabot dependencies dependency deployment deployments deprecation deps
dialog diff directory django docker dockerfile docs docstring docstrings documentation dom domain dropdown duplicate duplicates dto e2e editor element elements email emails emulator encoding
endpoint endpoints engine entity enum enums env environment error errors eslint event events exception exceptions export exports
expression express extension fallback fastapi favicon feature features field fields file filename files filter filters firewall fixture fixtures flag flags flask flow
folder folders font fonts footer form format formatter forms framework frontend function functions gateway generator getter git github gitignore gitlab
golang grafana graph graphql grid grpc handler handlers hash header headers heap helm helper helpers hook hooks hostname html http https i18n icon icons id ids
iframe image images implementation import imports index indexes indices infrastructure input inputs instance integer integration interceptor interface interfaces invoice invoices ios iterator java javascript
jest job jobs js json jwt kafka kernel key keyboard keys kubernetes label labels lambda layout leak leaks library libraries license lifecycle limiter line lines link links linter linting linux
list lists listener lists loader loading localhost locale lock locks log logger logging login logic logout logs loop loops macro mailer main makefile manifest map mapping markdown
memory menu merge message messages metadata method methods metric metrics microservice middleware migration migrations mobile mock mocks modal modals mode model models
module modules monitor monorepo mutation mutex namespace nav navbar navigation network next nginx node notification notifications npm null nulls number numbers oauth object objects onboarding openapi
operator optimization option options orm output package packages padding page pagination paging panel panic panics param parameter parameters params parser parsers parsing partition password
passwords patch path paths pattern payload payment payments pdf performance permission permissions php pipeline pipelines pixel placeholder playbook plugin plugins pod pods pointer polling pool popup port
ports postgres postgresql pr prefix prettier print process processes production profile profiler project prometheus promise prompt props protobuf protocol prototype provider proxy prs pull push pydantic pytest
python queries query queue queues race rails ram range rate react readme recursion redirect redirects redis reducer redux refactor refactoring reference regex
regression release releases render renderer rendering replica repo repos repository request requests resolver response responses rest retries retry role roles rollback
rollout root route router routes routing row rows ruby runtime rust saas sandbox scheduler schema schemas scheme screen script scripts scroll scrollbar sdk search section secret secrets
selector semaphore sentry serializer server servers service services session sessions setter setting settings shell sidebar signature signin signup singleton slider snapshot socket
sockets sort sorting source spec specs spinner sprite sql sqlite ssl ssh sso stack stacktrace staging startup state stderr stdin stdout storage store storybook stream streaming streams string
strings stripe struct structs stub stubs styles stylesheet subdomain submodule subprocess subscription subscriptions subtitle suite svelte svg swagger swift switch symbol syntax
tab table tables tabs tag tags tailwind template templates tenant terminal terraform test tests testing text theme thread threads throughput timeline timeout timeouts timer timestamp timestamps
timezone timezones title toast todo todos toggle token tokenizer tokens toolbar toolchain tooltip tooltips trace traces tracing traffic transaction transactions transition translation translations tree
trigger tuple type types typescript typo typos ui unicode unit upload uploads uploader url urls user users username utf utils ux uuid validation validator validators value values variable variables vendor
version versions video view viewport views vite volume vue warning warnings webhook webhooks webpack websocket websockets webview widget widgets wiki window windows wizard worker workers workflow workflows workspace
worktree wrapper xml yaml yarn zip zod avatar avatars billing inventory ledger overflow underflow stylesheet dark-mode lockfile pullrequest readiness healthcheck heartbeat p99 latency
scanner lexer bytecode linker allocator segfault coroutine closure iterator generics lifetime borrow trait traits async await future futures goroutine mocking signup reconnect disconnect
task tasks agent agents runner runners signal signals issue issues ticket tickets story stories epic report reports order orders product products customer customers chat chats indicator bubble bubbles bar price prices total totals
milestone contact contacts calendar catalog category categories comment feed post posts forum photo photos picture pictures audio playback track tracks playlist quota discount coupon
installer uploader downloader exporter importer crawler scraper tracker printer player editor viewer picker counter
";

/// What is wrong or wanted, in a sentence that states it.
const WRONG: &str = "
should must need needs needed broken misaligned fails fail failing failed crash crashes crashing crashed wrong missing slow flaky hangs
hang hanging leaks leaking leak throws throw throwing errors error panics panicking bug bugs typo outdated stale deprecated unused duplicated
duplicate inconsistent unreadable ugly overlaps overlapping truncated cut blank empty invisible stuck undefined timeout timeouts
flickers flickering jumps freezes loses lost ignores ignored redundant vulnerable insecure incorrect incorrectly twice messy ought
breaks broke closes opens takes faster slower smaller bigger dead noisy blurry overflows clipped unresponsive inaccessible confusing cluttered late times regression regressed
exception exceptions nothing returns goes shows still overlap overlaps drops doubles says displays appears renders swallowed swallows prints skips
unreachable misspelled off red green wants want requires lacks
";

const QUESTIONS: &str =
    "what how why where who which when whose is are does do did can could would should has have was were will";

const PLAIN: &str = "
the a an and or but if so to of in on at by for from with without is are was were be been being am do does did has have had i you he she it we they
me him her us them my your his its our their this that these those there here not no yes as than then too very can could would should will shall may might must
what which who whom whose when where why how all any each every some such only own same just also please into onto over under again once about
";

fn set(words: &'static str) -> HashSet<&'static str, RandomState> {
    words.split_whitespace().collect()
}

static WORK_VERBS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(WORK));
static SOFT_VERBS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(SOFT));
static TECHNICAL: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(THINGS));
static PROBLEMS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(WRONG));
static QUESTION_WORDS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(QUESTIONS));
static PLAIN_WORDS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| set(PLAIN));

/// What the program is called, as engines write it.
pub(super) fn is_own_name(word: &str) -> bool {
    matches!(word, "cadence" | "cadance" | "kadence" | "cadense" | "cadences" | "kaydence" | "caydence" | "candence")
}

/// A sound that is made while somebody thinks.
pub(super) fn is_hesitation(word: &str) -> bool {
    matches!(word, "um" | "umm" | "uhm" | "uh" | "uhh" | "er" | "erm" | "ehm" | "hmm" | "hm" | "mm" | "mmm")
}

/// The plain form of a gerund or of a third person, if the set has it.
fn base<'w>(word: &'w str, verbs: &HashSet<&str, RandomState>) -> Option<std::borrow::Cow<'w, str>> {
    if verbs.contains(word) {
        return Some(word.into());
    }
    for prefix in ["re-", "un-", "de-", "auto-"] {
        if let Some(left) = word.strip_prefix(prefix).filter(|left| verbs.contains(left)) {
            return Some(left.into());
        }
    }
    let stem = word.strip_suffix("ing")?;
    let undoubled = stem.get(..stem.len().saturating_sub(1)).unwrap_or_default();
    [stem.to_owned(), format!("{stem}e"), undoubled.to_owned()]
        .into_iter()
        .find(|stem| verbs.contains(stem.as_str()))
        .map(std::borrow::Cow::Owned)
}

/// Whether it asks for work on code by itself.
pub(super) fn is_work(word: &str) -> bool {
    base(word, &WORK_VERBS).is_some_and(|verb| !SOFT_VERBS.contains(&*verb))
}

/// Whether it asks for work where software is spoken of.
pub(super) fn is_soft(word: &str) -> bool {
    base(word, &SOFT_VERBS).is_some()
}

pub(super) fn is_verb(word: &str) -> bool {
    is_work(word) || is_soft(word)
}

pub(super) fn begins_question(word: &str) -> bool {
    QUESTION_WORDS.contains(word)
}

pub(super) fn is_problem(word: &str) -> bool {
    PROBLEMS.contains(word)
}

/// A verb that says of "it" what it is to be.
pub(super) fn is_problem_verb(word: &str) -> bool {
    matches!(word, "should" | "must" | "needs" | "has" | "ought" | "fails" | "breaks" | "crashes" | "does")
}

/// A word without a meaning of its own.
pub(super) fn is_plain(word: &str) -> bool {
    PLAIN_WORDS.contains(word)
}

/// Whether it is of software: by the lexicon, or by how it is written (`useEffect`, `src/app.ts`, `--flag`, in backticks).
pub(super) fn is_technical(token: &Token) -> bool {
    let word = token.word.as_str();
    TECHNICAL.contains(word)
        || looks_like_code(word)
        || word.split('-').any(|part| part.len() > 2 && TECHNICAL.contains(part))
}

fn looks_like_code(word: &str) -> bool {
    let inside = |mark: char| word.trim_matches(mark).contains(mark);
    inside('_')
        || inside('/')
        || word.contains("::")
        || word.contains("()")
        || word.starts_with("--")
        || word.starts_with('.') && word.len() > 2
        || word.rsplit_once('.').is_some_and(|(name, ending)| {
            !name.is_empty() && (1..=5).contains(&ending.len()) && ending.chars().all(|c| c.is_ascii_alphanumeric())
        }) && word.len() > 3
            && word.contains(char::is_alphabetic)
        || word.starts_with('#') && word.len() > 1
}

/// Whether the word is written as an identifier (`useEffect`), which its lower case does not show.
pub(super) fn is_camel(written: &str) -> bool {
    let mut before = None;
    written.chars().any(|c| {
        let turns = c.is_uppercase() && before.is_some_and(char::is_lowercase);
        before = Some(c);
        turns
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::{is_camel, is_soft, is_technical, is_work};

    #[test]
    fn work_is_asked_for_in_several_forms() {
        for verb in ["fix", "fixing", "refactoring", "removing", "stop", "splitting", "re-run"] {
            assert!(is_work(verb), "{verb}");
        }
        for verb in ["open", "make", "sing", "king", "thing"] {
            assert!(!is_work(verb), "{verb}");
        }
        assert!(is_soft("making") && is_soft("opening"));
    }

    #[test]
    fn software_is_known_by_word_and_by_look() {
        for word in ["endpoint", "src/app.ts", "load_config", "--verbose", "Vec::new", "main.rs", "login-page", "#42"] {
            assert!(is_technical(&tokens(word)[0]), "{word}");
        }
        for word in ["lunch", "weather", "e.g", "and/", "well"] {
            assert!(!is_technical(&tokens(word)[0]), "{word}");
        }
        assert!(is_camel("useEffect") && !is_camel("Hello") && !is_camel("API"));
    }
}
