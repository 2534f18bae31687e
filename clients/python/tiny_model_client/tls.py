"""TLS: whom a client trusts, and what it shows of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class TLS:
    """How a client speaks TLS. All files are in PEM.

    >>> ModelClient("shout", "tms.example", tls=TLS(ca="ca.pem"))
    """

    ca: str | os.PathLike[str] | None = None
    """The authorities of the server's certificate; grpc's own where none are named."""

    cert: str | os.PathLike[str] | None = None
    """A certificate to show to the server, where that wants one, and those up to its authority."""

    key: str | os.PathLike[str] | None = None
    """That certificate's private key."""

    name: str | None = None
    """The name that the server's certificate has, where that is not the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """The same as grpc has it. Reads the files."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        ca, key, cert = (
            None if path is None else Path(path).read_bytes()
            for path in (self.ca, self.key, self.cert)
        )
        return grpc.ssl_channel_credentials(ca, key, cert)

    def options(self) -> list[tuple[str, str]]:
        """Options of a channel."""
        return [] if self.name is None else [("grpc.ssl_target_name_override", self.name)]
