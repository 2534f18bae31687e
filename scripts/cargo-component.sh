#!/usr/bin/env bash
# Installs cargo-component, which the test of the README's "Add a model" uses, into the cache: that
# takes minutes and is the same for every checkout. Not optimised: it runs for seconds.
. "$(dirname "$0")/lib.sh"
check_platform

version=0.21.1
root=$CACHE/cargo-component-$version
if [ -x "$root/bin/cargo-component" ]; then exit 0; fi
export CARGO_TARGET_DIR=$CACHE/cargo-component-target
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
# From a folder outside the checkout, whose settings are for its own code.
cd /
cargo install --quiet cargo-component --version "$version" --locked --debug --root "$root"
rm -rf "$CARGO_TARGET_DIR"
