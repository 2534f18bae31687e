#!/usr/bin/env bash
# All tests, one suite after the other; goes on after a failure and names those that failed.
. "$(dirname "$0")/lib.sh"
check_platform

export TMS_ONNXRUNTIME=${TMS_ONNXRUNTIME:-$ROOT/.onnxruntime}
export TMS_BIN=$TMS
# Real graphs with reference outputs, where they lie beside the checkout.
if [ -z "${TMS_TEST_ASSETS:-}" ] && [ -d "$ROOT/../shared/assets" ]; then
    TMS_TEST_ASSETS=$(realpath "$ROOT/../shared/assets")
    export TMS_TEST_ASSETS
fi
failed=()
times=()

# suite NAME COMMAND...
suite() {
    local name=$1 began=$SECONDS result=ok
    shift
    say "$name: $*"
    if ! "$@"; then
        result=FAILED
        failed+=("$name")
    fi
    times+=("$(printf '%-22s %-6s %s' "$name" "$result" "$(duration $((SECONDS - began)))")")
}

# Takes minutes the first time and is needed last: beside all else, at the lowest priority.
mkdir -p "$CACHE"
nice -n 19 scripts/cargo-component.sh >"$CACHE/cargo-component.log" 2>&1 &
component=$!
trap 'kill "$component" 2>/dev/null || true' EXIT

wait_for_component() {
    if ! wait "$component"; then
        cat "$CACHE/cargo-component.log" >&2
        return 1
    fi
}

suite "Rust" cargo test --release --locked --workspace --no-fail-fast
suite "models and guests" native_guests test
suite "Python client" "$PYTHON" -m pytest -q clients/python
suite "other clients" "$PYTHON" -m pytest -q tests/clients
suite "fuzzing" env FUZZ_SECONDS="${FUZZ_SECONDS:-20}" scripts/fuzz.sh
suite "cargo-component" wait_for_component
suite "documents" "$PYTHON" -m pytest -q tests/docs

printf '\n'
printf '%s\n' "${times[@]}"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
say "all tests passed"
