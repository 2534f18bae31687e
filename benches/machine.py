"""Where and with what a run was made."""

import os
import platform
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from servers import ROOT, TMS, environment

LIBRARIES = ["wasmtime", "tonic", "hyper", "tokio", "ort"]


def printed(*command: str | Path) -> str:
    """The first line that a command prints."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[0] if done.stdout else ""


def cpu() -> str:
    """The processor's name."""
    name = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return name[1].strip() if name else platform.processor()


def slug() -> str:
    """A folder's name for this machine."""
    name = re.sub(r"\((r|tm)\)|\b(intel|amd|cpu|processor)\b|@.*", "", cpu().lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", name), f"{os.cpu_count()}cores"])


def versions() -> dict[str, str]:
    """The versions that matter."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    known = {package["name"]: package["version"] for package in lock["package"]}
    libraries = Path(environment().get("TMS_ONNXRUNTIME", "")).glob("libonnxruntime.so*")
    return {
        "tms": printed(TMS, "--version").removeprefix("tms "),
        "revision": printed("git", "describe", "--always", "--dirty"),
        "rustc": printed("rustc", "-V").split()[1],
        "onnxruntime": next((file.name.partition(".so.")[2] for file in libraries), "not found"),
        "h2load": printed("h2load", "--version").removeprefix("h2load "),
        **{name: known[name] for name in LIBRARIES if name in known},
    }


def describe() -> dict:
    """All of it, for the record."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release().partition("-")[0],
        "load_at_start": os.getloadavg(),
        "versions": versions(),
    }
