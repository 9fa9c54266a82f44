"""PURE. JSON for eyes: indented where asked for, or where a person's program asks (endpoints/handlers/negotiation)."""

import orjson

from netlab.apiserver.wire.message import Request, Response
from netlab.apiserver.wire.negotiate import JSON

_PERSONS_PROGRAMS = ("curl", "Wget", "Mozilla/5.0")
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


def wants_pretty(request: Request) -> bool:
    """The query's word counts; without it a browser, curl and wget get what a person can read."""
    asked = request.query.get("pretty", "")
    if asked:
        return asked in _TRUE
    return request.headers.get("user-agent", "").startswith(_PERSONS_PROGRAMS)


def prettify(found: Response) -> None:
    """Indent the body in place, where it is JSON."""
    if found.content_type.partition(";")[0] == JSON and found.body:
        found.body, found.more = orjson.dumps(orjson.loads(found.text), option=orjson.OPT_INDENT_2), ()
