#!/usr/bin/env bash
# Names every package that is missing, in one line to copy; as root it installs them. Runs before
# anything is downloaded or compiled.
. "$(dirname "$0")/lib.sh"
check_platform

missing=()
# The C++ compiler is for the fuzzing engine, of the tests.
command -v cc >/dev/null && command -v c++ >/dev/null || missing+=(build-essential)
# Without git, cargo and the scripts work; without certificates nothing can be downloaded.
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki ] || missing+=(ca-certificates)
if ! command -v python3 >/dev/null; then
    missing+=(python3 python3-venv)
elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
    line="apt-get install -y ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        die "missing, under their Debian names: ${missing[*]}"
    elif [ "$(id -u)" != 0 ]; then
        printf 'Missing packages. As root:\n\n    %s\n\n' "$line" >&2
        exit 1
    fi
    say "missing packages, so as root: $line"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    die "Python 3.9 or newer is needed; this is $(python3 --version)"
command -v cargo >/dev/null || die "Rust is missing: install it as https://rustup.rs says"
version=$(rustc --version | cut -d' ' -f2)
printf '1.95.0\n%s\n' "$version" | sort -VC ||
    die "Rust 1.95 or newer is needed, this is $version: run rustup update"
