//! The scratch project of `cadence demo`: a calculator in shell with a failing test. It needs no toolchain.

use std::path::Path;

const CALC: &str = r#"#!/bin/sh
# A tiny calculator.

add() { echo $(($1 - $2)); }
sub() { echo $(($1 - $2)); }
mul() { echo $(($1 * $2)); }

case "${1:-}" in
add | sub | mul) "$1" "$2" "$3" ;;
*)
    echo "usage: calc.sh add|sub|mul A B" >&2
    exit 2
    ;;
esac
"#;

const TEST: &str = r#"#!/bin/sh
# Runs calc.sh and compares what it prints.
cd "$(dirname "$0")" || exit 2
failed=0

check() {
    expected=$1
    shift
    actual=$(sh calc.sh "$@")
    if [ "$actual" = "$expected" ]; then
        echo "ok: $*"
    else
        echo "FAILED: $* gave $actual, not $expected"
        failed=1
    fi
}

check 5 add 2 3
check 1 sub 3 2
check 6 mul 2 3

exit $failed
"#;

const README: &str = "# calc\n\nA tiny calculator in shell. `sh test.sh` tests it.\n";

/// Writes the scratch project's files into a directory that is there. Repository and commit are the caller's.
pub fn scratch_repository(directory: &Path) -> std::io::Result<()> {
    for (name, text) in [("calc.sh", CALC), ("test.sh", TEST), ("README.md", README)] {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}
