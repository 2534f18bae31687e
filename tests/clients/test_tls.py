"""TLS by clients that are not ours, and ours: openssl, tritonclient, the Python client."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tiny_model_client import TLS, AsyncModelClient, ConnectionTimeout, ModelClient

from served import MODELS, Server, need

MODEL = "example_text"


@dataclass(frozen=True)
class Place:
    """A server with TLS, and what its callers have."""

    server: Server
    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def tls(self, cert: str = "caller") -> TLS:
        return TLS(
            ca=self.path("ca.pem"),
            cert=self.path(f"{cert}.pem"),
            key=self.path(f"{cert}.key"),
            name="localhost",
        )


def openssl(*arguments: str | Path) -> str:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there: it makes the certificates")
    command = ["openssl", *map(str, arguments)]
    # It shows bytes of sessions, too.
    run = subprocess.run(command, check=True, capture_output=True, input=b"")
    return run.stdout.decode(errors="replace")


def authority(folder: Path, name: str) -> None:
    """One that signs."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
    openssl("req", "-x509", *key, *files, "-days", "2", "-subj", f"/CN={name}")


def signed(folder: Path, name: str, by: str) -> None:
    """A certificate and its key."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request, more = folder / "request.pem", folder / "more"
    more.write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("req", *key, "-keyout", folder / f"{name}.key", "-out", request, "-subj", "/CN=x")
    ca = ["-CA", folder / f"{by}.pem", "-CAkey", folder / f"{by}.key", "-CAcreateserial"]
    out = ["-out", folder / f"{name}.pem", "-days", "2", "-extfile", more]
    openssl("x509", "-req", "-in", request, *ca, *out)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    need(MODELS / MODEL / "model.wasm")
    folder, models = tmp_path_factory.mktemp("tls"), tmp_path_factory.mktemp("models")
    (models / MODEL).symlink_to(MODELS / MODEL)
    for name in ("ca", "other"):
        authority(folder, name)
    for name, by in (("server", "ca"), ("caller", "ca"), ("stranger", "other")):
        signed(folder, name, by)
    keys = ["--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")]
    keys += ["--tls-client-ca", str(folder / "ca.pem"), "--http", "127.0.0.1:0"]
    with Server(models, *keys) as server:
        yield Place(server, folder)


def test_our_client(place: Place) -> None:
    host, _, port = place.server.address.partition(":")
    with ModelClient(MODEL, host, port, tls=place.tls()) as model:
        assert model.run_text("é") is not None
    with pytest.raises(ConnectionTimeout):
        ModelClient(MODEL, host, port, timeout=1, tls=place.tls("stranger"))
    with pytest.raises(ConnectionTimeout):
        ModelClient(MODEL, host, port, timeout=1)
    with pytest.raises(ValueError, match="go together"):
        ModelClient(MODEL, host, port, tls=TLS(cert=place.path("caller.pem")))


def test_our_asyncio_client(place: Place) -> None:
    async def call() -> object:
        host, _, port = place.server.address.partition(":")
        async with AsyncModelClient(MODEL, host, port, tls=place.tls()) as model:
            return await model.run_text("é")

    assert asyncio.run(call()) is not None


def test_tritonclient(place: Place) -> None:
    client = triton.InferenceServerClient(
        place.server.address.replace("127.0.0.1", "localhost"),
        ssl=True,
        root_certificates=place.path("ca.pem"),
        private_key=place.path("caller.key"),
        certificate_chain=place.path("caller.pem"),
    )
    with client:
        assert client.is_server_live()
        assert client.is_model_ready(MODEL)


def test_curl(place: Place) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not there")
    address = re.search(r"https://127\.0\.0\.1:(\d+)", place.server.log())
    assert address, place.server.log()
    url = f"https://localhost:{address[1]}/server.Server/RunText"
    request = ["-H", "content-type: application/json", "-d", f'{{"model": "{MODEL}", "text": "a"}}']
    trusts = ["--cacert", place.path("ca.pem")]
    shown = ["--cert", place.path("caller.pem"), "--key", place.path("caller.key")]
    command = ["curl", "-sS", "--max-time", "60", url, *request, *trusts]
    said = subprocess.run([*command, *shown], check=True, capture_output=True, text=True).stdout
    assert said == '{"data":"\\"a_processed\\""}'
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode != 0 and not refused.stdout


def test_openssl(place: Place) -> None:
    shown = ["-cert", place.path("caller.pem"), "-key", place.path("caller.key")]
    trusts = ["-CAfile", place.path("ca.pem"), "-verify_return_error", "-servername", "localhost"]
    said = openssl("s_client", "-connect", place.server.address, "-alpn", "h2", *trusts, *shown)
    assert "ALPN protocol: h2" in said
    assert "Verify return code: 0 (ok)" in said
