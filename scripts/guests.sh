#!/usr/bin/env bash
# Sees to a Rust toolchain that builds components: the target wasm32-wasip2 where rustup has it,
# otherwise its second way (guest-toolchain.sh).
. "$(dirname "$0")/lib.sh"
check_platform

# Whether a toolchain (`+name`, or none for the default) has the target.
has_target() {
    local folder
    folder=$(rustc "$@" --print target-libdir --target wasm32-wasip2 2>/dev/null) &&
        compgen -G "$folder/libstd-*" >/dev/null
}

if [ "${GUEST_TOOLCHAIN_MODE:-auto}" = auto ]; then
    if has_target; then exit 0; fi
    if has_target +wasm-guest; then exit 0; fi
fi
say "a Rust toolchain for WebAssembly components (up to 3 minutes, once)"
# cargo-component builds for the first, cargo for the second.
GUEST_TARGETS="wasm32-wasip1 wasm32-wasip2" bash scripts/guest-toolchain.sh
