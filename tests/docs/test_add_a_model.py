"""The README's "Add a model", followed to the letter in a folder outside the checkout, once with
`cargo build` and once with `cargo component build`.

Every `sh` block runs, in one shell, in the order of the text; a `rust` or `toml` block becomes the
file that its first line names. The command that serves stays in the background, as a reader's other
terminal would have it. What the text says the last command prints must be what it prints.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from blocks import REPOSITORY, Block, blocks
from served import binary

CARGO_COMPONENT = "0.21.1"
CACHE = Path(os.environ.get("TMS_CI_CACHE", Path.home() / ".cache" / "tms-ci"))

PRELUDE = """
set -euo pipefail
# A server that does not become ready ends the test with its log.
serve() {
    "$@" >served.out 2>served.log &
    server=$!
    trap 'kill "$server"; wait "$server"' EXIT
    until grep -q ^ready served.out; do
        kill -0 "$server" || { cat served.log >&2; exit 1; }
        sleep 0.05
    done
}
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def script(section: list[Block], component: bool) -> str:
    """The section as one shell script; of the two ways to build, the one asked for."""
    lines = [PRELUDE]
    for block in section:
        if block.file:
            lines.append(f"cat >{block.file} <<'END OF FILE'\n{block.code}END OF FILE")
        elif block.language == "sh":
            if "cargo build" in block.code and component:
                continue
            if "cargo component" in block.code and not component:
                continue
            for line in block.code.splitlines():
                lines.append(f"serve {line}" if " serve " in line else line)
    return "\n".join(lines)


def environment(folder: Path) -> dict[str, str]:
    """A reader's: nothing of this checkout's set-up, `TMS` as the text asks for, a free port."""
    port = free_port()
    ours = {"CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "TMS_BIN"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env.update(TMS=str(checkout(folder)), TMS_PORT=str(port), TMS_ADDRESS=f"127.0.0.1:{port}")
    # Both ways and later runs share what they compile; products stay where cargo puts them.
    env["CARGO_BUILD_BUILD_DIR"] = str(CACHE / "add-a-model")
    env["PATH"] = f"{CACHE / f'cargo-component-{CARGO_COMPONENT}' / 'bin'}:{env['PATH']}"
    if not has_target([]):
        # The text's one-time `rustup target add`, in its second way.
        assert has_target(["+wasm-guest"]), "no Wasm target: run `make setup`"
        env["RUSTUP_TOOLCHAIN"] = "wasm-guest"
    return env


def checkout(folder: Path) -> Path:
    """Where the reader cloned to: this checkout, or a stand-in where it was built elsewhere."""
    built = REPOSITORY / "target" / "release" / "tms"
    if binary() == built:
        return REPOSITORY
    clone = folder / "clone"
    clone.mkdir()
    for part in REPOSITORY.iterdir():
        if part.name != "target":
            (clone / part.name).symlink_to(part)
    (clone / "target" / "release").mkdir(parents=True)
    (clone / "target" / "release" / "tms").symlink_to(binary())
    return clone


def has_target(toolchain: list[str]) -> bool:
    command = ["rustc", *toolchain, "--print", "target-libdir", "--target", "wasm32-wasip2"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.returncode == 0 and any(Path(run.stdout.strip()).glob("libstd-*"))


@pytest.mark.parametrize("way", ["cargo build", "cargo component build"])
def test_add_a_model(way: str, tmp_path: Path) -> None:
    section = blocks("README.md", "Add a model")
    assert any(way in block.code for block in section), f"the README lost `{way}`"
    expected = section[-1].prints
    assert expected, "the README does not say what the model answers"
    env = environment(tmp_path)
    component = way == "cargo component build"
    if component and not shutil.which("cargo-component", path=env["PATH"]):
        reason = "cargo-component is not installed: run scripts/cargo-component.sh"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    work = tmp_path / "work"
    work.mkdir()
    run = subprocess.run(
        ["bash", "-c", script(section, component)],
        cwd=work, env=env, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert run.stdout.splitlines()[-1] == expected
