"""Scenario files: which fault when, for how long. PURE. `SCHEMA` shows all there is; errors name the place and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlab.lab.faults.kinds import KINDS
from netlab.lab.faults.model import Fault, FaultError, make, options_of, seconds
from netlab.topology.document import Value, did_you_mean, parse

SCHEMA = """\
name: a cable goes, then a node        # what it is called (optional)
seed: 7                                # of every fault that has none of its own (optional)
steps:                                 # in any order; at: counts from the start
  - at: 0s
    fault: loss                        # one of `klab fault kinds`
    name: lossy                        # to be healed by (optional)
    targets: [node1]                   # as on the command line
    percent: 20%                       # the kind's own options, by name
    for: 5s                            # until it heals by itself; without it, until healed or the end
  - at: 6s
    fault: link-down
    targets: [node2]
  - at: 10s
    heal: all                          # or the name of a step, or a list of names
"""
_COMMON = ("at", "fault", "name", "targets", "for", "seed")


@dataclass(frozen=True, slots=True)
class Inject:
    """At `at` seconds: break. `written` are the options as the file has them, which labd reads again."""

    at: float
    name: str
    fault: Fault
    written: Mapping[str, str]
    duration: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Heal:
    """At `at` seconds: mend the steps of these names; none: everything that the scenario broke."""

    at: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """`steps` in the order of time, those of one time in the order of the file."""

    name: str
    steps: tuple[Inject | Heal, ...]

    @property
    def length(self) -> float:
        """Seconds until the last step, or the last fault with a time, is over."""
        ends = [step.at + (step.duration or 0.0 if isinstance(step, Inject) else 0.0) for step in self.steps]
        return max(ends, default=0.0)


def read(text: str, file: str) -> Scenario:
    """The scenario. Raises TopologyError, which names the place."""
    root = parse(text, file).mapping("a scenario", ("name", "seed", "steps"))
    if "steps" not in root:
        raise parse(text, file).place.error("a scenario needs 'steps'", "klab fault run --schema shows the format")
    seed = root["seed"].integer("a seed", 0, 2**31) if "seed" in root else None
    steps = [_step(value, number, seed) for number, value in enumerate(root["steps"].sequence("the list of steps"), 1)]
    _check_names(steps, root["steps"])
    name = root["name"].text("a name") if "name" in root else ""
    return Scenario(name, tuple(sorted(steps, key=lambda step: step.at)))


def _step(value: Value, number: int, seed: int | None) -> Inject | Heal:
    entries = value.mapping("a step")
    if "at" not in entries:
        raise value.place.error("a step needs 'at'", "such as at: 5s")
    at = _seconds(entries["at"])
    if "heal" in entries:
        value.mapping("a step that heals", ("at", "heal"))
        return Heal(at, _names(entries["heal"]))
    if "fault" not in entries:
        raise value.place.error("a step needs 'fault' or 'heal'")
    kind = KINDS[entries["fault"].choice("fault", KINDS)]
    options = options_of(kind)
    value.mapping(f"a step with a fault {kind.kind}", (*_COMMON, *options))
    written = {key: entry.text(f"{key}") for key, entry in entries.items() if key in options}
    targets = _names(entries["targets"]) if "targets" in entries else ()
    try:
        fault = make(kind, targets, written)
    except FaultError as error:
        place = entries[error.key].place if error.key in entries else value.place
        raise place.error(error.message if error.key in entries else str(error)) from None
    duration = _seconds(entries["for"]) if "for" in entries else None
    own = entries["seed"].integer("a seed", 0, 2**31) if "seed" in entries else seed
    name = entries["name"].text("a name") if "name" in entries else f"step {number}"
    return Inject(at, name, fault, written, duration, own)


def _seconds(value: Value) -> float:
    try:
        return seconds(value.text("a time"))
    except ValueError as error:
        raise value.place.error(str(error)) from None


def _names(value: Value) -> tuple[str, ...]:
    """A word, or a list of words. `all` among those to heal is no name: nothing."""
    if value.is_sequence:
        return tuple(item.text("a name") for item in value.sequence("names"))
    text = value.text("a name, or a list of names")
    return () if text == "all" else (text,)


def _check_names(steps: list[Inject | Heal], place: Value) -> None:
    known: dict[str, float] = {}
    for step, value in zip(steps, place.sequence("the list of steps"), strict=True):
        if isinstance(step, Inject):
            if step.name in known:
                raise value.place.error(f"there are two steps of the name {step.name!r}")
            known[step.name] = step.at
    for step, value in zip(steps, place.sequence("the list of steps"), strict=True):
        for name in step.names if isinstance(step, Heal) else ():
            if name not in known:
                raise value.place.error(f"no step has the name {name!r}", did_you_mean(name, known) if known else "")
            if known[name] > step.at:
                raise value.place.error(f"{name!r} is healed before it is broken")
