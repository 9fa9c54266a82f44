"""Named formats of texts: `format.named('dns1123Label')`. Source followed: apiserver `pkg/cel/library/format.go`."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from netlab.api.cel.errors import CelError
from netlab.api.cel.library.network import member, parse_url
from netlab.api.cel.types import Overload, overload
from netlab.api.cel.values import NONE, Optional, parse_timestamp
from netlab.api.validation import names

Judge = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Format:
    cel_type: ClassVar[str] = "kubernetes.NamedFormat"
    name: str
    judge: Judge


def _matches(expression: str, message: str) -> Judge:
    compiled = re.compile(expression, re.IGNORECASE | re.ASCII)
    return lambda text: [] if compiled.fullmatch(text) else [message]


def _parses(parse: Callable[[str], Any], message: str) -> Judge:
    def judge(text: str) -> list[str]:
        try:
            parse(text)
        except (CelError, ValueError, BadBase64):
            return [message]
        return []

    return judge


def _prefixed(judge: Judge) -> Judge:
    return lambda text: judge(text[:-1] + "a" if text.endswith("-") else text)


_UUID = r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"


def _formats() -> dict[str, Judge]:
    return {
        "dns1123Label": names.dns_label,
        "dns1123Subdomain": names.dns_subdomain,
        "dns1035Label": names.dns_1035_label,
        "dns1123LabelPrefix": _prefixed(names.dns_label),
        "dns1123SubdomainPrefix": _prefixed(names.dns_subdomain),
        "dns1035LabelPrefix": _prefixed(names.dns_1035_label),
        "qualifiedName": names.qualified_name,
        "labelValue": names.label_value,
        "uri": _parses(parse_url, "must be a valid URI"),
        "uuid": _matches(_UUID, "does not match the UUID format"),
        "byte": _parses(lambda text: b64decode(text, validate=True), "invalid base64"),
        "date": _parses(lambda text: parse_timestamp(f"{text}T00:00:00Z"), "invalid date"),
        "datetime": _parses(parse_timestamp, "invalid datetime"),
    }


def overloads() -> list[Overload]:
    known = {name: Format(name, judge) for name, judge in _formats().items()}
    kind = Format.cel_type

    def validate(one: Format, text: str) -> Optional:
        wrong = one.judge(text)
        return Optional(wrong, True) if wrong else NONE

    def named(name: str) -> Optional:
        return Optional(known[name], True) if name in known else NONE

    found = [
        overload(f"!format.named(string) -> optional({kind})", named),
        member(kind, "validate(string) -> optional(list(string))", validate),
    ]
    return found + [overload(f"!format.{name}() -> {kind}", lambda one=one: one) for name, one in known.items()]
