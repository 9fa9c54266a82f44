"""Go's regular expressions: what is refused and in which words, what matches, and that no text takes long."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import comes
from apiserver_harness import Harness, harness

from netlab.api.cel.environment import Environment, compile_expression
from netlab.api.cel.errors import CelError, CompileError
from netlab.api.cel.types import STRING
from netlab.api.goregexp import RegexpError, regexp

Obj = dict[str, Any]

REFUSED = [
    (r"(a)\1", r"invalid escape sequence: `\1`"),
    (r"(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
    (r"(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
    (r"(?<=a)b", "invalid named capture: `(?<=a)b`"),
    (r"x(?<!a>)b", "invalid named capture: `(?<!a>`"),
    (r"(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
    (r"a++", "invalid nested repetition operator: `++`"),
    (r"a*+", "invalid nested repetition operator: `*+`"),
    (r"a**", "invalid nested repetition operator: `**`"),
    (r"+", "missing argument to repetition operator: `+`"),
    (r"a{1001}", "invalid repeat count: `{1001}`"),
    (r"a{2,1}", "invalid repeat count: `{2,1}`"),
    (r"[a", "missing closing ]: `[a`"),
    (r"(a", "missing closing ): `(a`"),
    (r"a)", "unexpected ): `a)`"),
    ("a\\", "trailing backslash at end of expression: ``"),
    (r"[z-a]", "invalid character class range: `z-a`"),
    (r"\pX", r"invalid character class range: `\pX`"),
    (r"\Z", r"invalid escape sequence: `\Z`"),
    (r"\C", r"invalid escape sequence: `\C`"),
    (r"(?P<n", "invalid named capture: `(?P<n`"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(RegexpError) as refused:
        regexp(text)
    assert str(refused.value) == f"error parsing regexp: {why}"


MATCHES = [
    (r"^a$", "a", True),
    (r"^a$", "a\n", False),
    (r"a.b", "a\nb", False),
    (r"(?s)a.b", "a\nb", True),
    (r"(?m)^b$", "a\nb", True),
    (r"\d", "٣", False),
    (r"\w", "é", False),
    (r"\pL", "é", True),
    (r"(?i)straße", "STRASSE", False),
    (r"(?i)k", "\u212a", True),
    (r"[[:alpha:]]", "1", False),
    (r"\Qa.b\E", "a.b", True),
    (r"\Qa.b\E", "axb", False),
    (r"a\z", "a", True),
    (r"\\C", r"\C", True),
    (r"x{,2}", "x{,2}", True),
]


@pytest.mark.parametrize(("text", "subject", "matches"), MATCHES)
def test_what_matches(text: str, subject: str, matches: bool) -> None:
    assert regexp(text).matches(subject) is matches


def test_finding_is_leftmost_first() -> None:
    assert regexp("a|ab").find("xab") == "a"
    assert regexp("ab|a").find("xab") == "ab"
    assert regexp("q").find("xab") is None
    assert list(regexp("a*").find_all("baac")) == ["", "aa", ""]
    assert list(regexp(r"\d+").find_all("1 22 333")) == ["1", "22", "333"]


def test_no_expression_takes_long() -> None:
    begun = time.process_time()
    assert not regexp("(a*)*b|(a|aa)+$c").matches("a" * 20_000)
    assert time.process_time() - begun < 5


def evaluate(text: str) -> Any:
    return compile_expression(text, Environment({"p": STRING})).evaluate({"p": "(?=a)"})[0]


def test_in_cel() -> None:
    assert evaluate("'a1b22'.findAll('[0-9]+') == ['1', '22']") is True
    assert evaluate("'a1b22'.findAll('[0-9]+', 1) == ['1']") is True
    assert evaluate("'a1'.find('z') == ''") is True
    assert evaluate("'a\\n'.matches('^a$')") is False
    with pytest.raises(CompileError, match="invalid matches argument"):
        evaluate("'a'.matches('(?=a)')")
    with pytest.raises(CelError) as refused:
        evaluate("'a'.matches(p)")
    assert str(refused.value) == "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        yield made


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(pattern: str, **more: Any) -> Obj:
    fields = {"text": {"type": "string", "pattern": pattern, **more}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": fields}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}
    return {"metadata": {"name": "things.example.com"}, "spec": spec}


async def test_patterns_of_custom_kinds(server: Harness) -> None:
    path = "spec.validation.openAPIV3Schema.properties[text]"
    detail = "must be a valid regular expression, but isn't: error parsing regexp: "
    code, _, message = await server.refused("POST", CRDS, definition("+"))
    why = f'{path}.pattern: Invalid value: "+": {detail}missing argument to repetition operator: `+`'
    assert code == 422 and message.endswith(why)
    nested = definition("a", anyOf=[{"pattern": "(?=a)"}])
    assert f"{path}.anyOf[0].pattern: " in (await server.refused("POST", CRDS, nested))[2]
    await server.ok("POST", CRDS, definition("^a$"))

    async def served() -> bool:
        return (await server.call("GET", "/apis/example.com/v1"))[0] == 200

    await comes(served, "the custom kind")
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}}
    url = "/apis/example.com/v1/things"
    message = (await server.refused("POST", url, {**thing, "text": "a\n"}))[2]
    assert message.endswith("text in body should match '^a$'")
    await server.ok("POST", url, {**thing, "text": "a"})
