"""A load test with Locust: a server, and users of a scenario, for a while; a report.

    make load SCENARIO=mixed USERS=20 LOAD_SECONDS=30

It needs what `make build` and `scripts/python.sh` make. The page that it writes has every
second's rates and times. It fails where a call failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from cpu import CORES
from servers import ROOT, TMS, Server

SCENARIOS = ("text", "image", "mixed", "spike")


def main() -> None:
    """Serves, calls, and reports."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scenario", choices=SCENARIOS, default="mixed")
    arguments.add_argument("--users", type=int, default=10)
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--report", type=Path, default=Path("target/load.html"))
    given = arguments.parse_args()
    given.report.parent.mkdir(parents=True, exist_ok=True)
    print("benches/load_test.py", *sys.argv[1:])
    print(f"{machine.cpu()}, {CORES} cores")
    with tempfile.TemporaryDirectory(prefix="tms-load-") as folder:
        models = Path(folder, "models")
        models.mkdir()
        for model in ("example_text", "example_image"):
            (models / model).symlink_to(ROOT / "models" / model)
        serve = [TMS, "serve", "--models", models, "--cache", Path(folder, "cache")]
        server = Server("tms", *serve, "--host", "127.0.0.1", "--port", "0")
        try:
            failed = locust(given, server.address)
        finally:
            server.stop()
    print(f"the report: {given.report}")
    sys.exit(failed)


def locust(given: argparse.Namespace, address: str) -> int:
    """Runs Locust without its page. Its exit status, which is not 0 where a call failed."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "benches/locustfile.py")]
    command += ["--headless", "--only-summary", "--host", address, "--html", str(given.report)]
    part = max(1, given.seconds // 3)
    if given.scenario != "spike":
        command += ["--users", str(given.users), "--spawn-rate", str(given.users)]
        command += ["--run-time", f"{given.seconds}s"]
    of_scenario = {"USERS": str(given.users), "SECONDS_OF_A_PART": str(part)}
    environment = {**os.environ, **of_scenario, "SCENARIO": given.scenario}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    main()
