"""What is broken now, as it is kept: `<state>/faults.json`. PURE but for `load` and `save`.

A record belongs to one run of the lab (`boot`): when PID 1 has died every namespace and with it every fault is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlab.lab.faults.kinds import KINDS
from netlab.lab.faults.model import Fault, FaultError, from_obj, to_obj
from netlab.lab.record import write_atomically

FILE = "faults.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A fault that lasts. Times are seconds since the epoch; `until` None: until it is healed.

    `saved` is what was there before, where mending needs to know.
    """

    id: str
    fault: Fault
    began: float
    until: float | None = None
    seed: int | None = None
    saved: dict[str, Any] = field(default_factory=dict)

    def to_obj(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fault": to_obj(self.fault),
            "began": self.began,
            "until": self.until,
            "seed": self.seed,
            "saved": self.saved,
        }

    @classmethod
    def from_obj(cls, obj: dict[str, Any]) -> Record:
        return cls(**{**obj, "fault": from_obj(KINDS, obj["fault"])})


def next_id(records: Iterable[Record], kind: str) -> str:
    """`loss-1`, `loss-2`, …"""
    used = {record.id for record in records}
    return next(name for name in (f"{kind}-{number}" for number in range(1, 100_000)) if name not in used)


def load(state: Path, boot: str) -> list[Record]:
    """The records of this run of the lab; none of an earlier one's, nor of a damaged file."""
    try:
        found = json.loads((state / FILE).read_text())
        return [Record.from_obj(one) for one in found["faults"]] if found["boot"] == boot else []
    except (OSError, ValueError, KeyError, TypeError, FaultError):
        return []


def save(state: Path, boot: str, records: Sequence[Record]) -> None:
    """On the disk when this returns."""
    text = json.dumps({"boot": boot, "faults": [record.to_obj() for record in records]}, indent=2)
    write_atomically(state / FILE, text + "\n")
