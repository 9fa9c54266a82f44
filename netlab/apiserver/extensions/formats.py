"""PURE. The formats that a schema may ask of a text or number; unknown ones ask nothing, as upstream.

Source followed: kube-openapi `pkg/validation/strfmt` and the list of formats that apiextensions supports.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST = re.compile(rf"{_PART}(?:\.{_PART})*\.?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_UNIT = r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d|w)"
_DURATION = re.compile(rf"[-+]?(?:{_UNIT})+|0")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _moment(text: str) -> bool:
    return _TIME.fullmatch(text) is not None and _parses(datetime.fromisoformat)(text[:19])


TEXT: dict[str, Callable[[str], bool]] = {
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "date": _parses(date.fromisoformat),
    "date-time": _moment,
    "datetime": _moment,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": lambda text: len(text) < 256 and _HOST.fullmatch(text) is not None,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": lambda text: "/" in text and _parses(lambda t: ipaddress.ip_network(t, strict=False))(text),
    "uri": lambda text: bool(urlsplit(text).scheme) or text.startswith("/"),
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
    "k8s-short-name": lambda text: _LABEL.fullmatch(text) is not None,
}
NUMBERS: dict[str, tuple[int, int]] = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
