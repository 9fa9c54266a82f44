"""Forms of names and values: each function gives the list of what is wrong with one, [] when nothing is.

Source followed: apimachinery `pkg/util/validation/validation.go` and `pkg/api/validation/generic.go`.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNDERSCORE_LABEL = r"[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"
_ENV_NAME = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_HTTP_HEADER = r"[-A-Za-z0-9]+"
_PERCENT = r"[0-9]+%"
_C_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_underscore_subdomain = re.compile(rf"{_UNDERSCORE_LABEL}(\.{_UNDERSCORE_LABEL})*").fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_env_name = re.compile(_ENV_NAME).fullmatch
_is_relaxed_env_name = re.compile(r"[ -<>-~]+").fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_http_header = re.compile(_HTTP_HEADER).fullmatch
_is_percent = re.compile(_PERCENT).fullmatch
_is_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_is_port_charset = re.compile(r"[-a-z0-9]+").fullmatch

SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)
LABEL_1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_NAME_PART_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character"
)
_LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)
_UNDERSCORE_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '.' or '_', and must "
    "start and end with an alphanumeric character or '_'"
)


def regex_error(message: str, form: str, *examples: str) -> str:
    """`<message> (e.g. 'a',  or 'b', regex used for validation is '<form>')`."""
    if not examples:
        return f"{message} (regex used for validation is '{form}')"
    shown = "', " + " or '"
    return f"{message} (e.g. '{shown.join(examples)}', regex used for validation is '{form}')"


def max_length_error(length: int) -> str:
    """What is said of a name that is too long."""
    return f"must be no more than {length} characters"


def range_error(low: int, high: int) -> str:
    """`must be between low and high, inclusive`."""
    return f"must be between {low} and {high}, inclusive"


def _checked(value: str, maximum: int, good: bool, message: str) -> list[str]:
    found = [max_length_error(maximum)] if len(value.encode()) > maximum else []
    return found if good else [*found, message]


def dns_label(value: str) -> list[str]:
    """RFC 1123 label."""
    if len(value) <= 63 and _is_label(value):
        return []
    if _is_subdomain(value) and not _is_label(value):
        return _checked(value, 63, False, "must not contain dots")
    return _checked(value, 63, bool(_is_label(value)), regex_error(LABEL_MESSAGE, _LABEL, "my-name", "123-abc"))


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain."""
    if len(value) <= 253 and _is_subdomain(value):
        return []
    message = regex_error(SUBDOMAIN_MESSAGE, _SUBDOMAIN, "example.com")
    return _checked(value, 253, bool(_is_subdomain(value)), message)


def dns_subdomain_with_underscore(value: str) -> list[str]:
    """Search domains of a pod."""
    form = rf"{_UNDERSCORE_LABEL}(\.{_UNDERSCORE_LABEL})*"
    message = regex_error(_UNDERSCORE_MESSAGE, form, "example.com")
    return _checked(value, 253, bool(_is_underscore_subdomain(value)), message)


def dns_1035_label(value: str) -> list[str]:
    """RFC 1035 label: Service names."""
    message = regex_error(LABEL_1035_MESSAGE, _LABEL_1035, "my-name", "abc-123")
    return _checked(value, 63, bool(_is_label_1035(value)), message)


_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_is_wildcard = re.compile(_WILDCARD).fullmatch


def wildcard_subdomain(value: str) -> list[str]:
    """`*.` and a subdomain: Ingress hosts."""
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return _checked(value, 253, bool(_is_wildcard(value)), regex_error(message, _WILDCARD, "*.example.com"))


@lru_cache(maxsize=4096)
def _qualified(value: str) -> tuple[str, ...]:
    found: list[str] = []
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        message = regex_error(_NAME_PART_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc")
        message = message.replace("name part", "a qualified name", 1)
        return (f"{message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {one}" for one in dns_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        found.append("name part " + max_length_error(63))
    if not _is_qualified(name):
        found.append(regex_error(_NAME_PART_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return tuple(found)


def qualified_name(value: str) -> list[str]:
    """A label key: an optional DNS prefix, a slash, a name."""
    return list(_qualified(value))


@lru_cache(maxsize=4096)
def _label_value_errors(value: str) -> tuple[str, ...]:
    if len(value) <= 63 and _is_label_value(value):
        return ()
    message = regex_error(_LABEL_VALUE_MESSAGE, _LABEL_VALUE, "MyValue", "my_value", "12345")
    return tuple(_checked(value, 63, bool(_is_label_value(value)), message))


def label_value(value: str) -> list[str]:
    """The value of a label."""
    return list(_label_value_errors(value))


def relaxed_env_name(value: str) -> list[str]:
    """Environment variable names as 1.33 takes them: printable ASCII but '='."""
    if not value:
        return ["environment variable name must be non-empty"]
    if not _is_relaxed_env_name(value):
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


_is_config_key_again = lru_cache(maxsize=4096)(_is_config_key)


def is_config_map_key(value: str) -> bool:
    """Whether this is a key of ConfigMaps and Secrets without any doubt: `config_map_key` has nothing to say."""
    return len(value) <= 253 and value[:1] != "." and _is_config_key_again(value) is not None


def config_map_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets: file names."""
    if is_config_map_key(value):
        return []
    found = [max_length_error(253)] if len(value.encode()) > 253 else []
    if not _is_config_key(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(regex_error(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return found + _dot_dot(value)


def _dot_dot(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def http_header(value: str) -> list[str]:
    """Names of HTTP headers."""
    if _is_http_header(value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(message, _HTTP_HEADER, "X-Header-Name")]


def percent(value: str) -> list[str]:
    """`10%`."""
    if _is_percent(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(message, _PERCENT, "1%", "93%")]


def port_number(value: int) -> list[str]:
    """1 to 65535."""
    return [] if 1 <= value <= 65535 else [range_error(1, 65535)]


def port_name(value: str) -> list[str]:
    """IANA service names (RFC 6335)."""
    found = []
    if len(value) > 15:
        found.append(max_length_error(15))
    if not _is_port_charset(value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        found.append("must not begin or end with a hyphen")
    return found


def user_id(value: int) -> list[str]:
    """User ids (also group ids)."""
    return [] if 0 <= value <= 2**31 - 1 else [range_error(0, 2**31 - 1)]


def path_segment(value: str) -> list[str]:
    """A name that may stand in a URL path: what RBAC objects take."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


# -- names of objects: (name, prefix) as upstream's ValidateNameFunc; with prefix a trailing dash is allowed -----------


def mask_trailing_dash(name: str) -> str:
    """A generateName ends in a dash that a suffix will follow."""
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


def subdomain_name(name: str, prefix: bool) -> list[str]:
    """Most objects."""
    return dns_subdomain(mask_trailing_dash(name) if prefix else name)


def label_name(name: str, prefix: bool) -> list[str]:
    """Namespaces."""
    return dns_label(mask_trailing_dash(name) if prefix else name)


def label_1035_name(name: str, prefix: bool) -> list[str]:
    """Services."""
    return dns_1035_label(mask_trailing_dash(name) if prefix else name)


def path_segment_name(name: str, prefix: bool) -> list[str]:
    """Roles, bindings."""
    if prefix:
        return [f"may not contain '{char}'" for char in "/%" if char in name]
    return path_segment(name)
