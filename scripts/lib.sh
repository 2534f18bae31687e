# What the scripts share: where things are, how they speak, where they work. Sourced, never run.
# shellcheck shell=bash disable=SC2034 # What is unused here is used by those that source it.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
# Cargo's variable, where it is set, names the folder of build products.
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}" 2>/dev/null || echo "$ROOT/target")
TMS=$TARGET/release/tms
PYTHON=$ROOT/.venv/bin/python
# What is costly to make and the same for every checkout.
CACHE=${TMS_CI_CACHE:-${HOME:-/root}/.cache/tms-ci}

# What runs ONNX Runtime here reports nothing to its makers, as `tms` does not.
export ORT_DISABLE_TELEMETRY=1

say() { printf '==> %s\n' "$*"; }
skip() { printf 'SKIPPED: %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Fails in one sentence where nothing of this was ever tried.
check_platform() {
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ] || ! getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
        die "only Linux on x86-64 with glibc is supported; this is $(uname -sm)"
    fi
}

# The project's own Python environment; its pip also fetches what is no Python.
ensure_venv() {
    # A folder that was moved has a Python that does not run.
    "$PYTHON" -c '' 2>/dev/null || python3 -m venv --clear .venv
}

# One line: so many seconds, as minutes where they are many.
duration() {
    if [ "$1" -ge 120 ]; then echo "$(($1 / 60)) min $(($1 % 60)) s"; else echo "$1 s"; fi
}

# Cargo over models/ and the tests' guests, natively: native_guests SUBCOMMAND OPTION... In a folder of
# its own, because cargo gives a cdylib's files no hash: the benches' build of the same crates would
# be overwritten. With the host's profile: theirs is for small components and takes minutes.
native_guests() {
    CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_PANIC=unwind \
        CARGO_TARGET_DIR=$TARGET/guests \
        cargo "$1" --release --locked --workspace --manifest-path models/Cargo.toml "${@:2}"
}
