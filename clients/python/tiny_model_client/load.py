"""How loaded a server says it is, by its ORCA reports, and the weight that comes of it.

The weight is that of gRPC's own weighted_round_robin (its proposal A58): how many requests a second
the server would answer if it were fully used. The reports are those of the service OpenRcaService:
the same ones come with each reply, in its trailers, but gRPC's library keeps that trailer from the
application.
"""

from __future__ import annotations

from ._proto import orca
from ._proto import orca_load_report as orca_report

REQUEST = orca.OrcaLoadReportRequest(report_interval=orca.OrcaLoadReportRequest.Interval(seconds=1))
"""Asks for a report a second."""

LISTEN = 60.0
"""Seconds after which the client asks for reports anew."""

LISTEN_PAUSE = 1.0
"""Seconds until it does where they have ended or none can be had."""

EXPIRATION = 180.0
"""Seconds after which a report says nothing any more."""

BLACKOUT = 5.0
"""Seconds from the first report after connecting until reports count: a server that has just
started, or that many clients have just found, is not what it will be."""

ERROR_PENALTY = 1.0
"""How much utilization an answer that is an error counts for."""

HIGHEST = 1e9
"""No server does more than this a second, and none is more loaded: such a report is nonsense."""


class Load:
    """What one server's reports say."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._at: float | None = None
        self._since: float | None = None

    def take(self, weight: float, now: float) -> None:
        """A report has come."""
        if self._at is None or now - self._at > EXPIRATION:
            self._since = now
        self._weight, self._at = weight, now

    def weight(self, now: float) -> float | None:
        """The server's weight, or None where nothing is known yet or any more."""
        if self._at is None or self._since is None or now - self._at > EXPIRATION:
            return None
        return self._weight if now - self._since >= BLACKOUT else None


def weight(report: orca_report.OrcaLoadReport | None) -> float | None:
    """The weight by a report; None for one that makes no sense, or that gRPC cannot read."""
    if report is None:
        return None
    rate, errors = report.rps_fractional, report.eps
    utilization = report.application_utilization
    if utilization == 0:
        utilization = report.cpu_utilization
    # Comparisons with NaN are false.
    if not (0 < rate <= HIGHEST and 0 <= errors <= HIGHEST and 0 < utilization <= HIGHEST):
        return None
    found = float(rate / (utilization + errors / rate * ERROR_PENALTY))
    return found if 0 < found <= HIGHEST else None
