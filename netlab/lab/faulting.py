"""`klab fault` and `Lab.fault` from outside: orders to labd, and scenarios in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netlab.api.types import Obj
from netlab.lab.bus import ask
from netlab.lab.faults.model import to_obj
from netlab.lab.faults.scenario import Heal, Inject, Scenario, read
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths

TIMEOUT = 60.0


def order(paths: LabPaths, request: Obj) -> list[Obj]:
    """What labd answers. LabError (status 2 where a target or an option is wrong) with its words."""
    try:
        found = next(ask(paths.control_socket, {"op": "fault", **request}, TIMEOUT))
    except TimeoutError:
        raise LabError(f"lab '{paths.name}' did not answer within {TIMEOUT:.0f} s") from None
    except StopIteration:
        raise LabError(f"lab '{paths.name}' ended before it answered") from None
    if "error" in found:
        key = found.get("key")
        raise LabError(f"{key}: {found['error']}" if key else found["error"], 2 if key else 1)
    return list(found["faults"])


def inject(
    paths: LabPaths,
    kind: str,
    targets: Sequence[str],
    options: Mapping[str, str],
    duration: str | float | None = None,
    seed: int | None = None,
) -> Obj:
    """Break something; the record of what was broken (see `netlab.lab.faults.records`)."""
    request = {"do": "inject", "kind": kind, "targets": list(targets), "options": dict(options), "seed": seed}
    if duration is not None:
        request["for"] = str(duration)
    return order(paths, request)[0]


def listed(paths: LabPaths) -> list[Obj]:
    """What is broken now."""
    return order(paths, {"do": "list"})


def heal(paths: LabPaths, ids: Sequence[str] = ()) -> list[Obj]:
    """Mend these, or everything; what was mended."""
    return order(paths, {"do": "heal", "ids": list(ids)})


def load(file: Path) -> Scenario:
    """A scenario file. LabError where it cannot be read; TopologyError names what is wrong in it."""
    try:
        return read(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file}: {getattr(error, 'strerror', None) or error}", 2) from None


def run(paths: LabPaths, scenario: Scenario, say: Callable[[float, str], None], *, keep: bool = False) -> None:
    """Play it. Whatever ends it, also an error or Ctrl-C, what it broke is mended, unless `keep`."""
    began, ids = time.monotonic(), {}
    try:
        for step in scenario.steps:
            time.sleep(max(0.0, began + step.at - time.monotonic()))
            if isinstance(step, Inject):
                obj = to_obj(step.fault)
                found = inject(paths, obj["kind"], obj["targets"], step.written, step.duration, step.seed)
                if found["state"] != "done":
                    ids[step.name] = found["id"]
                say(time.monotonic() - began, f"{step.name}: {found['text']}")
            else:
                _heal(paths, step, ids, lambda words: say(time.monotonic() - began, words))
        time.sleep(max(0.0, began + scenario.length - time.monotonic()))
    finally:
        if ids and not keep:
            _heal(paths, Heal(0.0), ids, lambda words: say(time.monotonic() - began, words))


def _heal(paths: LabPaths, step: Heal, ids: dict[str, str], say: Callable[[str], None]) -> None:
    names = [name for name in (step.names or tuple(ids)) if name in ids]
    chosen = [ids.pop(name) for name in names]
    for record in heal(paths, chosen) if chosen else ():
        say(f"healed {record['text']}")
