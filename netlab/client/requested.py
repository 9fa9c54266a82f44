"""What a client counts of its requests, under client-go's names. A request costs one look-up here.

Source followed: component-base/metrics/prometheus/restclient/metrics.go.
"""

from __future__ import annotations

from typing import NamedTuple

from netlab.api.measuring import Counter, Histogram, Measure, Reading, Series
from netlab.client.transport import HttpTransport, Transport

_DURATION = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_SIZES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
_VERB = ("host", "verb")


class _Kind(NamedTuple):
    """Of one method."""

    codes: dict[str, int]
    duration: Series
    sent: Series
    received: Series


class Requests:
    """Of one transport, which speaks to one host."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._kinds: dict[str, _Kind] = {}
        about = "Broken down by verb and host."
        self.duration = Histogram(
            "rest_client_request_duration_seconds", f"[ALPHA] Request latency in seconds. {about}", _DURATION, _VERB
        )
        self.sent = Histogram(
            "rest_client_request_size_bytes", f"[ALPHA] Request size in bytes. {about}", _SIZES, _VERB
        )
        self.received = Histogram(
            "rest_client_response_size_bytes", f"[ALPHA] Response size in bytes. {about}", _SIZES, _VERB
        )

    def note(self, method: str, code: str, seconds: float, sent: int, received: int) -> None:
        """A request has its answer; `code` is "<error>" where there was none."""
        kind = self._kinds.get(method)
        if kind is None:
            series = (one.of(self.host, method) for one in (self.duration, self.sent, self.received))
            kind = self._kinds[method] = _Kind({}, *series)
        kind.codes[code] = kind.codes.get(code, 0) + 1
        kind.duration.observe(seconds)
        kind.sent.observe(sent)
        kind.received.observe(received)

    def measures(self) -> list[Measure]:
        """For /metrics."""

        def codes() -> Reading:
            return [
                ((code, self.host, method), float(count))
                for method, kind in self._kinds.items()
                for code, count in kind.codes.items()
            ]

        text = "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host."
        total = Counter("rest_client_requests", text, ("code", "host", "method"), codes)
        return [total, self.duration, self.sent, self.received]


def counted(transport: Transport) -> list[Measure]:
    """Count what the transport asks, from now on; the measures."""
    if not isinstance(transport, HttpTransport):
        return []
    if not isinstance(transport.told, Requests):
        transport.told = Requests(transport.host)
    return transport.told.measures()
