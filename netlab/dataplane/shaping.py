"""What a link does to packets: a rate, a delay, a loss; per direction, as queueing disciplines at each end's exit.

Rate is a token bucket (tbf), delay, jitter and loss are netem; with both, netem hangs below the bucket. The numbers
follow what people use by hand: the bucket holds a millisecond at the link's rate (at least ten frames), the queue
behind it 50 ms (at least a hundred frames), and netem's queue what the link can have in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAME = 1514
QUEUE_S = 0.05
ASSUMED_BPS = 10_000_000_000
"""The rate that a link without a bandwidth is taken to have when netem's queue is sized."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """One direction of a link, at the exit of `dev`. Bits per second, seconds, loss as a fraction."""

    dev: str
    bandwidth_bps: int | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    mtu: int = 1500

    @property
    def needs_netem(self) -> bool:
        return bool(self.delay_s or self.jitter_s or self.loss)

    def __bool__(self) -> bool:
        return self.needs_netem or self.bandwidth_bps is not None

    @property
    def burst(self) -> int:
        """The bucket, in bytes."""
        return max(10 * (self.mtu + 14), (self.bandwidth_bps or 0) // 8000)

    @property
    def limit(self) -> int:
        """The queue behind the bucket, bucket included, in bytes."""
        return self.burst + max(100 * FRAME, int((self.bandwidth_bps or 0) / 8 * QUEUE_S))

    @property
    def packets(self) -> int:
        """netem's queue, in packets: half again what is in flight."""
        rate = self.bandwidth_bps or ASSUMED_BPS
        return max(1000, int(1.5 * rate * (self.delay_s + self.jitter_s) / 8 / FRAME))

    def commands(self) -> tuple[str, ...]:
        """As `tc` commands."""
        lines = []
        parent = "root"
        if self.bandwidth_bps is not None:
            rate = f"rate {self.bandwidth_bps}bit burst {self.burst} limit {self.limit}"
            lines.append(f"tc qdisc replace dev {self.dev} root handle 5: tbf {rate}")
            parent = "parent 5:1"
        if self.needs_netem:
            words = [f"limit {self.packets}"]
            words += [f"delay {_ms(self.delay_s)}"] if self.delay_s or self.jitter_s else []
            words += [_ms(self.jitter_s)] if self.jitter_s else []
            words += [f"loss {self.loss * 100:g}%"] if self.loss else []
            lines.append(f"tc qdisc replace dev {self.dev} {parent} handle 10: netem {' '.join(words)}")
        return tuple(lines)

    def __str__(self) -> str:
        return "; ".join(self.commands())


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g}ms"
