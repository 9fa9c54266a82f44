"""A fault as typed data: what every kind shares, how its options are read and written. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any, ClassVar

from netlab.topology import units


class FaultError(ValueError):
    """A fault that cannot be: `key` is the option or target that is wrong, "" where it is the whole."""

    def __init__(self, message: str, key: str = "") -> None:
        self.key, self.message = key, message
        super().__init__(f"{key}: {message}" if key else message)


def suggestion(word: str, known: Sequence[str]) -> str:
    """The nearest known word as "did you mean …", or all there are."""
    close = get_close_matches(word, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"


# -- how options are read: text as a person writes it, ValueError(what was expected) ----------------------------------


_LONG = {"m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A time such as "10s", "250ms", "2m" or "1h"; a bare number is seconds."""
    found = units.parse_time(text)
    if found is None and text[-1:] in _LONG and text[:-1].replace(".", "", 1).isdigit():
        found = float(text[:-1]) * _LONG[text[-1]]
    if found is None and text.replace(".", "", 1).isdigit():
        found = float(text)
    if found is None:
        raise ValueError(f"expected {units.TIME_HELP}, found '{text}'")
    return found


def offset(text: str) -> float:
    """A time that may be negative: "-30s"."""
    return -seconds(text[1:]) if text.startswith("-") else seconds(text.removeprefix("+"))


def share(text: str) -> float:
    """A share such as "20%" or "20", which is 0.2."""
    found = units.parse_share(text if text.strip().endswith("%") else f"{text}%")
    if not found:
        raise ValueError(f"expected {units.SHARE_HELP} above 0%, found '{text}'")
    return found


def rate(text: str) -> int:
    found = units.parse_rate(text)
    if found is None:
        raise ValueError(f"expected {units.RATE_HELP}, found '{text}'")
    return found


def size(text: str) -> int:
    """Bytes of an IP packet."""
    if not text.isdigit() or not 68 <= int(text) <= 65535:
        raise ValueError(f"expected a size in bytes from 68 to 65535, found '{text}'")
    return int(text)


def address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"expected an IP address, found '{text}'") from None


def mac(text: str) -> str:
    parts = text.lower().split(":")
    if len(parts) != 6 or any(len(part) != 2 or set(part) - set("0123456789abcdef") for part in parts):
        raise ValueError(f"expected a MAC address such as 02:00:00:00:00:01, found '{text}'")
    return text.lower()


def endpoint(text: str) -> str:
    """An address and a port, "ADDRESS:PORT"."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"expected an endpoint such as 10.244.1.9:8080, found '{text}'")
    return f"{address(host)}:{port}"


def word(text: str) -> str:
    if not text:
        raise ValueError("expected a name, found nothing")
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found '{text}'")
        return text

    return parse


def option(parse: Callable[[str], Any], about: str, default: Any = MISSING) -> Any:
    """A field of a kind that a person can set."""
    metadata = {"parse": parse, "about": about}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What every kind has. `targets` as they were written."""

    kind: ClassVar[str]
    about: ClassVar[str]
    what: ClassVar[str]
    """What its targets are, for the help."""
    least: ClassVar[int] = 1
    netem: ClassVar[bool] = False
    """Whether it needs the kernel's network emulator."""
    once: ClassVar[bool] = False
    """It happens and is over, unless it is given a time."""

    targets: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """The options that differ from their defaults, as plain data."""
        return {
            one.name: getattr(self, one.name)
            for one in options_of(type(self)).values()
            if one.default is MISSING or getattr(self, one.name) != one.default
        }

    def __str__(self) -> str:
        more = [f"{name}={_shown(value)}" for name, value in self.settings().items()]
        return " ".join((self.kind, *self.targets, *more))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_of(kind: type[Fault]) -> dict[str, Field[Any]]:
    """Its options by name, in order."""
    return {one.name: one for one in fields(kind) if "parse" in one.metadata}


def make(kind: type[Fault], targets: Sequence[str], written: Mapping[str, str]) -> Fault:
    """A fault from what a person wrote. Raises FaultError with the option that is wrong."""
    known = options_of(kind)
    values: dict[str, Any] = {}
    for name, text in written.items():
        if name not in known:
            more = suggestion(name, list(known)) if known else "it has none"
            raise FaultError(f"a fault {kind.kind} has no such option; {more}", name)
        try:
            values[name] = known[name].metadata["parse"](text)
        except ValueError as error:
            raise FaultError(str(error), name) from None
    for name, one in known.items():
        if one.default is MISSING and name not in values:
            raise FaultError(f"a fault {kind.kind} needs it: {one.metadata['about']}", name)
    if len(targets) < kind.least:
        raise FaultError(f"a fault {kind.kind} needs a target: {kind.what}", "targets")
    return kind(targets=tuple(targets), **values)


def to_obj(fault: Fault) -> dict[str, Any]:
    return {"kind": fault.kind, "targets": list(fault.targets), **fault.settings()}


def from_obj(kinds: Mapping[str, type[Fault]], obj: Mapping[str, Any]) -> Fault:
    """The inverse of `to_obj`. Raises FaultError."""
    data = dict(obj)
    name = data.pop("kind", None)
    if name not in kinds:
        raise FaultError(f"no fault '{name}'; {suggestion(str(name), list(kinds))}", "kind")
    try:
        return kinds[name](targets=tuple(data.pop("targets", ())), **data)
    except TypeError as error:
        raise FaultError(str(error)) from None
