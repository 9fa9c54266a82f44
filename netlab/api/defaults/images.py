"""Image names: `distribution/reference` grammar, as far as defaults need it."""

from __future__ import annotations

import re
from functools import lru_cache

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"((?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)(?::([\w][\w.-]{{0,127}}))?(?:@({_DIGEST}))?", re.ASCII
)


@lru_cache(maxsize=2048)
def tag_of(image: str) -> str:
    """The tag: `latest` where neither tag nor digest is given, "" for a digest alone or a name that is none."""
    match = _REFERENCE.fullmatch(image)
    if match is None or re.fullmatch(r"[a-f0-9]{64}", image):
        return ""
    _, tag, digest = match.groups()
    return tag or ("" if digest else "latest")
