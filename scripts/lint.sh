#!/usr/bin/env bash
# Formatting and lints, warnings denied.
. "$(dirname "$0")/lib.sh"
check_platform

say "rustfmt"
cargo fmt --all --check
cargo fmt --all --check --manifest-path models/Cargo.toml
say "shellcheck"
if command -v shellcheck >/dev/null; then
    shellcheck -x -P scripts scripts/*.sh .ci/run
else
    skip "shellcheck is not installed: apt-get install -y shellcheck"
fi
say "ruff and mypy"
"$PYTHON" -m ruff check --quiet clients/python tests/clients tests/docs benches
"$PYTHON" -m ruff format --check --quiet clients/python tests/clients tests/docs benches
(cd clients/python && "$PYTHON" -m mypy)
say "clippy (2 to 4 minutes the first time)"
cargo clippy --release --locked --workspace --all-targets -- -D warnings
native_guests clippy --all-targets -- -D warnings
