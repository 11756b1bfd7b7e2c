use super::TestEnv;

/// Runs the assertion with its snapshots beside the stories, and nothing replaced.
pub fn snapshots(assertion: impl FnOnce()) {
    settings().bind(assertion);
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings
}

/// Runs the assertion with what differs from run to run replaced: ids, times, durations, costs, paths.
pub fn redacted(env: &TestEnv, assertion: impl FnOnce()) {
    let mut settings = settings();
    settings.add_filter(&regex_quote(&env.path("").display().to_string()), "[root]/");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]");
    settings.add_filter(r"\b[0-9a-f]{40}\b", "[commit]");
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[id]");
    settings.add_filter(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?", "[time]");
    settings.add_filter(r"\b\d+(?:\.\d+)?\s?(?:ms|s|m \d+ s|min)\b", "[duration]");
    settings.add_filter(r"\$\d+\.\d+", "$[cost]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
    settings.bind(assertion);
}

fn regex_quote(text: &str) -> String {
    text.chars().flat_map(|c| (!c.is_alphanumeric()).then_some('\\').into_iter().chain([c])).collect()
}
