"""Values with a text form of their own: times, durations, byte strings, quantities, int-or-string.

Each function takes the JSON value and gives it back as upstream would write it again; `ValueError` says that it is not
of this type, in the words of upstream's `UnmarshalJSON`.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

from netlab.api import quantity
from netlab.api.validation.gofmt import quote

_PLAIN_TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
)
_DURATION = re.compile(r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def time(value: object) -> str:
    """`metav1.Time`: RFC 3339 in, whole seconds of UTC out."""
    if isinstance(value, str) and _PLAIN_TIME.fullmatch(value):
        return value
    return _parse_time(value).isoformat(timespec="seconds") + "Z"


def micro_time(value: object) -> str:
    """`metav1.MicroTime`: RFC 3339 in, microseconds of UTC out."""
    return _parse_time(value).isoformat(timespec="microseconds") + "Z"


def _parse_time(value: object) -> datetime:
    text = str(value)
    match = _TIME.fullmatch(text)
    if not match:
        shown = quote(text)
        raise ValueError(f'parsing time {shown} as "2006-01-02T15:04:05Z07:00": cannot parse {shown} as "2006"')
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    offset = f"{sign}{off_hours}:{off_minutes}" if sign else "+00:00"
    micros = (fraction or "0")[:6].ljust(6, "0")
    local = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micros}{offset}")
    try:
        return local.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # the first or the last day that Python knows, elsewhere
        return local.replace(tzinfo=None)


def duration(value: object) -> str:
    """`metav1.Duration`: Go's duration text, written again in Go's canonical form."""
    text = str(value)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0
    for amount, unit in _DURATION_PART.findall(text):
        total += round(float(amount) * _NANOSECONDS[unit]) if "." in amount else int(amount) * _NANOSECONDS[unit]
    return _go_duration(-total if text.startswith("-") else total)


def _go_duration(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if rest < size * 1000:
            return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_decimal(rest, 10**9)}s"


def _decimal(amount: int, size: int) -> str:
    whole, part = divmod(amount, size)
    if not part:
        return str(whole)
    digits = str(part).rjust(len(str(size)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


def byte_string(value: object) -> str:
    """`[]byte`: standard base64, line breaks dropped."""
    text = str(value).replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except binascii.Error:
        raise ValueError(f"illegal base64 data at input byte {_bad_base64_byte(text)}") from None


def _bad_base64_byte(text: str) -> int:
    match = re.match(r"(?:[A-Za-z0-9+/]{4})*", text)
    end = match.end() if match else 0
    tail = text[end:]
    for index, char in enumerate(tail):
        if not (char.isascii() and (char.isalnum() or char in "+/")):
            return end + index
    return len(text) - len(tail) if tail else len(text)


def quantity_text(value: object) -> str:
    """`resource.Quantity`: canonical text of a JSON string or number."""
    return quantity.canonical(str(value).strip())
