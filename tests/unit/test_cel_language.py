# ruff: noqa: E501 - expressions in tables
"""CEL as Kubernetes speaks it: what expressions evaluate to, and what is said of those that are wrong."""

from typing import Any

import pytest

from netlab.api.cel import CelError, CompileError, CostExceededError, Environment, compile_expression
from netlab.api.cel.errors import Issue
from netlab.api.cel.library.authorizer import AUTHORIZER, Authorizer, Check, Decision
from netlab.api.cel.schemas import converter, declare, escape
from netlab.api.cel.types import DYN, INT, STRING, Field, list_of, map_of, object_type
from netlab.api.cel.values import Duration, MapList, SetList, Timestamp

ITEM = object_type("item", {"name": Field(STRING, "name"), "size": Field(INT, "size")})
SELF = object_type(
    "self",
    {
        "n": Field(INT, "n"),
        "s": Field(STRING, "s"),
        "items": Field(list_of(ITEM), "items"),
        "labels": Field(map_of(STRING, STRING), "labels"),
        "a__dash__b": Field(INT, "a-b"),
        "__if__": Field(INT, "if"),
    },
)
ENVIRONMENT = Environment({"self": SELF, "d": DYN, "authorizer": AUTHORIZER})
VARIABLES: dict[str, Any] = {
    "self": {
        "n": 3,
        "s": "abc",
        "items": [{"name": "a", "size": 1}, {"name": "b", "size": 2}],
        "labels": {"x": "1"},
        "a-b": 7,
        "if": 8,
    },
    "d": {"i": 1, "f": 1.5, "s": "x", "l": [1, 2, 3], "m": {"k": None}, "mixed": [1, "a"]},
}


def value(text: str, **more: Any) -> Any:
    return compile_expression(text, ENVIRONMENT).evaluate({**VARIABLES, **more})[0]


TRUE = """
self.n + 1 == 4 && self.s == 'abc'
self.a__dash__b == 7 && self.__if__ == 8
has(self.s) && !has(self.labels.y) && has(self.labels.x)
self.items.all(i, i.size > 0) && self.items.exists(i, i.name == 'b') && self.items.exists_one(i, i.size == 1)
self.items.map(i, i.size) == [1, 2] && self.items.map(i, i.size > 1, i.name) == ['b']
self.items.filter(i, i.size > 1)[0].name == 'b'
self.labels.all(k, k.startsWith('x')) && 'x' in self.labels && 2 in d.l && !(4 in d.l)
[1, 2].all(i, v, i < v) && {'a': 1}.exists(k, v, k == 'a' && v == 1) && [1, 2].existsOne(i, v, v == 2)
[1, 2].transformList(i, v, i * v) == [0, 2] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}
{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}
1 / 0 == 1 || true
true || 1 / 0 == 1
!(false && 1 / 0 == 1) && !(1 / 0 == 1 && false)
[1, 0].exists(x, 1 / x == 1) && ![0, 2].all(x, 1 / x == 1)
d.i == 1.0 && d.i == 1u && d.f > d.i && 1 < 1.5 && 2u > 1 && 'a' < 'b'
d.s != 1 && d.m.k == null && !(d.m == null)
-7 / 2 == -3 && -7 % 2 == -1 && 7 % -2 == 1 && -(-5) == 5 && 0x1F == 31
9223372036854775807 > -9223372036854775808
int('42') == 42 && int(3.9) == 3 && uint(3) == 3u && double('1e3') == 1000.0 && string(1.0) == '1' && string(1.5) == '1.5'
bool('true') && !bool('f') && string(true) == 'true' && string(b'abc') == 'abc' && bytes('é').size() == 2
size('héllo') == 5 && size([1, 2]) == 2 && {'a': 1}.size() == 1 && ''.size() == 0
type(1) == int && type(d.l) == list && type('a') == string && type(null) == null_type && type(type(1)) == type
'héllo'.charAt(1) == 'é' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3 && 'abc'.indexOf('c', 3) == -1
'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacocæt'.upperAscii() == 'TACOCæT' && '  \\ttrim\\n '.trim() == 'trim'
'hello hello'.replace('he', 'we', 1) == 'wello hello' && 'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']
'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && ['x', 'y'].join('-') == 'x-y' && strings.quote('a"b') == '"a\\\\"b"'
'%s %d %.2f %x %s'.format(['a', 3, 1.256, 255, [1, 2]]) == 'a 3 1.26 ff [1, 2]' && '%s'.format([{'a': 1}]) == '{"a": 1}'
'abc123'.matches('^[a-z]+[0-9]+$') && matches('abc', 'b') && 'a1b2'.find('[0-9]') == '1' && 'a1b2'.findAll('[0-9]', 1) == ['1']
[1, 2, 3].isSorted() && !['b', 'a'].isSorted() && [3, 1].min() == 1 && [3, 1].max() == 3 && [1, 2].sum() == 3 && [1.5, 2.0].sum() == 3.5
[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(5) == -1
sets.contains([1, 2], [1]) && sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2]) && !sets.intersects([1], [2])
duration('1h30m') > duration('1h') && duration('90m').getHours() == 1 && duration('1500ms').getMilliseconds() == 1500
timestamp('2023-06-14T02:00:00Z').getDayOfWeek() == 3 && timestamp('2023-06-14T02:00:00Z').getDate() == 14
timestamp('2023-06-14T02:00:00Z').getHours('-08:00') == 18 && timestamp('2023-01-01T00:00:00Z').getMonth() == 0
timestamp('2023-06-14T02:00:00Z') + duration('1h') == timestamp('2023-06-14T03:00:00Z')
timestamp('2023-06-14T02:00:00Z') - timestamp('2023-06-14T01:00:00Z') == duration('3600s') && string(duration('90s')) == '90s'
url('https://u@example.com:80/path%20x?k=a&k=b').getHost() == 'example.com:80' && url('https://[::1]:80/').getHostname() == '::1'
url('https://e.com:80/?k=a&k=b').getQuery() == {'k': ['a', 'b']} && url('https://e.com:80/').getPort() == '80' && isURL('/path') && !isURL('../rel')
url('https://example.com/with space'.replace(' ', '%20')).getEscapedPath() == '/with%20space' && url('/p').getScheme() == ''
isIP('127.0.0.1') && !isIP('127.0.0.256') && ip('::1').isLoopback() && ip('10.0.0.1').family() == 4 && ip.isCanonical('::1')
!ip.isCanonical('::0001') && ip('0.0.0.0').isUnspecified() && ip('224.0.0.1').isLinkLocalMulticast() && ip('192.168.0.1').isGlobalUnicast()
cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1') && isCIDR('10.0.0.0/8')
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8') && cidr('::1/128').prefixLength() == 128
string(cidr('10.0.0.1/8').ip()) == '10.0.0.1' && !isCIDR('10.0.0.0') && !isIP('::ffff:1.2.3.4')
quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').add(20) == quantity('50020') && quantity('50Mi').compareTo(quantity('50Mi')) == 0
isQuantity('1.5Gi') && !isQuantity('10Mo') && quantity('50k').asInteger() == 50000 && quantity('1500m').asApproximateFloat() == 1.5
quantity('50k').sub(quantity('45k')).sign() == 1 && !quantity('1m').isInteger()
semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-alpha').compareTo(semver('1.0.0')) == -1 && semver('v1.2', true).minor() == 2
isSemver('1.2.3') && !isSemver('1.2') && isSemver('v01.2', true)
!format.dns1123Label().validate('abc').hasValue() && format.named('uuid').hasValue() && !format.named('none').hasValue()
format.dns1123Label().validate('A_').value().size() == 1
d.?i.orValue(9) == 1 && d.?z.orValue(9) == 9 && d.?z.?y.hasValue() == false && d.l[?9].orValue(0) == 0 && d[?'i'].value() == 1
optional.of(1).optMap(x, x + 1).value() == 2 && optional.none().or(optional.of(3)).value() == 3 && optional.of(2).optFlatMap(x, optional.of(x)).hasValue()
optional.ofNonZeroValue('').hasValue() == false && [?d.?z, ?d.?i] == [1] && {?'z': d.?z, 'a': 1} == {'a': 1}
r'\\d' == '\\\\d' && '''a'b''' == "a'b" && '\\u00e9' == 'é' && b'\\xff'.size() == 1 && '\\101' == 'A'
// a comment
"""


@pytest.mark.parametrize("text", [line for line in TRUE.strip().splitlines() if not line.startswith("//")])
def test_what_is_true(text: str) -> None:
    assert value(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d.zz", "no such key: zz"),
        ("{'a': 1}.b", "no such key: b"),
        ("d.l[5]", "index out of bounds: 5"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1u - 2u", "unsigned integer overflow"),
        ("d.s < 1", "no such overload"),
        ("d.i + 'a'", "no such overload"),
        ("d.i.startsWith('a')", "no such overload: startsWith(int, string)"),
        ("d.i && true", "no such overload"),
        ("d.mixed.all(x, x > 0)", "no such overload"),
        ("int(d.s)", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("optional.none().value()", "optional.none() dereference"),
        (
            "quantity('x')",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("[0].filter(x, false).min()", "min called on empty list"),
        ("'abc'.substring(5)", "index out of range: 5"),
    ],
)
def test_what_fails(text: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        value(text)
    assert str(caught.value) == message


PRIMARY = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


@pytest.mark.parametrize(
    ("text", "issues"),
    [
        ("self.z", [(5, "undefined field 'z'")]),
        ("missing > 1", [(1, "undeclared reference to 'missing' (in container '')")]),
        ("fn(1)", [(3, "undeclared reference to 'fn' (in container '')")]),
        ("self.n == 'a'", [(8, "found no matching overload for '_==_' applied to '(int, string)'")]),
        ("self.n.startsWith('a')", [(18, "found no matching overload for 'startsWith' applied to 'int.(string)'")]),
        ("self.items.foo", [(11, "type 'list(item)' does not support field selection")]),
        ("self.n.all(x, x)", [(5, "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)")]),
        ("self.items.all(x, x.size)", [(20, "expected type 'bool' but found 'int'")]),
        ("[1, 'a']", [(5, "expected type 'int' but found 'string'")]),
        ("self.zz && self.yy", [(5, "undefined field 'zz'"), (16, "undefined field 'yy'")]),
        ("duration('1x') == duration('1s')", [(10, "invalid duration argument")]),
        ("'a'.matches('(')", [(13, "invalid matches argument")]),
        ("has(self)", [(4, "invalid argument to has() macro")]),
        ("Pod{name: 'a'}", [(4, "undeclared reference to 'Pod' (in container '')")]),
        ("self = 42", [(6, "Syntax error: token recognition error at: '= '"), (8, "Syntax error: extraneous input '42' expecting <EOF>")]),
        ("self.n ==", [(10, f"Syntax error: mismatched input '<EOF>' expecting {PRIMARY}")]),
        ("(1 + 2", [(7, "Syntax error: missing ')' at '<EOF>'")]),
        ("while", [(1, "reserved identifier: while")]),
        ("self.n == #", [(11, "Syntax error: token recognition error at: '#'"), (12, f"Syntax error: mismatched input '<EOF>' expecting {PRIMARY}")]),
        ("9223372036854775808", [(1, "invalid int literal")]),
    ],
)  # fmt: skip
def test_what_does_not_compile(text: str, issues: list[tuple[int, str]]) -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression(text, ENVIRONMENT)
    assert caught.value.issues == tuple(Issue(column - 1, message) for column, message in issues)


def test_a_compile_error_shows_the_line() -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression("self.n > 0 &&\n  self.z", ENVIRONMENT)
    assert str(caught.value) == "ERROR: <input>:2:7: undefined field 'z'\n |   self.z\n | ......^"


def test_costs_are_counted_and_bounded() -> None:
    program = compile_expression("d.l.map(x, d.l.map(y, x * y)).size()", ENVIRONMENT)
    found, cost = program.evaluate(VARIABLES)
    assert found == 3
    assert 50 < cost < 200
    with pytest.raises(CostExceededError, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate(VARIABLES, limit=20)
    assert program.used == {"d"}


@pytest.mark.parametrize(("length", "items"), [(16, 11), (63, 30), (253, 106), (1024, 414)])
def test_estimates_are_upstreams(length: int, items: int) -> None:
    """What an item of `self.all(x, x.contains('gpu'))` costs by its maxLength, as measured on upstream's validator."""
    schema = {"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": length}}
    declared = declare(schema, "t")
    assert declared is not None
    estimate = compile_expression("self.all(x, x.contains('gpu'))", Environment({"self": declared.type})).estimate
    assert estimate // 1000 == items


_OBJECT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "size": {"type": "integer"},
        "names": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 25}},
        "labels": {"type": "object", "maxProperties": 7, "additionalProperties": {"type": "string", "maxLength": 3}},
        "inner": {"type": "object", "properties": {"free": {"type": "string"}}},
    },
}


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        ("self.name == 'abc'", 2 + 1),  # self, .name; the shorter text, read
        ("self.size > 3", 2 + 1),
        ("self.size == 3", 2),  # a declared scalar bounds a comparison by nothing
        ("self.inner == oldSelf.inner", 4),  # as does an object
        ("self.names == oldSelf.names", 4 + 1),
        ("has(self.inner)", 1),
        ("!has(self.inner) || self.inner.free == ''", 1 + 1 + 3),
        ("self.names.all(n, n == 'x')", 2 + 5 * (3 + 1 + 1) + 1),
        ("self.names.exists(n, n.startsWith('ab'))", 2 + 5 * (4 + 1 + 1) + 1),
        ("self.names.exists_one(n, true)", 2 + 5 * 2 + 2),
        ("self.names.map(n, n.size()).sum() > 0", 2 + 10 + 5 * (12 + 1 + 1) + 1 + 5 + 1),
        ("size(self.labels) < 3", 2 + 1 + 1),
        ("self.labels.all(k, self.labels[k] != '')", 2 + 7 * (3 + 2 + 1 + 1 + 0) + 1),
        ("self.name.matches('^[a-z]+$')", 2 + 5 * 2),
        ("self.name + 'xyz' == 'a'", 2 + 5 + 1),
        ("self.name in ['a', 'b']", 2 + 10 + 2),
        ("(self.size > 1 ? self.name : 'long') == ''", 2 + 1 + 2),
        ("self.name.replace('a', 'bb').contains('c')", 2 + 8 + 8),
        ("self.?name.orValue('') == ''", 2 + 1),
    ],
)
def test_the_most_that_a_rule_can_cost(rule: str, cost: int) -> None:
    """Counted by hand after cel-go's rules."""
    declared = declare(_OBJECT, "t")
    assert declared is not None
    assert compile_expression(rule, Environment({"self": declared.type, "oldSelf": declared.type})).estimate == cost


def test_an_authorizer_is_asked() -> None:
    asked: list[Check] = []

    def ask(check: Check) -> Decision:
        asked.append(check)
        return Decision(check.verb == "get", "why")

    text = (
        "authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('n').check('get')"
        ".allowed() && !authorizer.serviceAccount('ns', 'sa').path('/healthz').check('post').allowed()"
    )
    assert value(text, authorizer=Authorizer(ask)) is True
    # asking is dear: an expression may do it twice
    with pytest.raises(CostExceededError):
        value(f"{text} && authorizer.path('/x').check('get').reason() == 'why'", authorizer=Authorizer(ask))
    assert asked[0] == Check("get", "", "apps", "deployments", "scale", "a", "n")
    assert asked[1] == Check("post", "/healthz", user="system:serviceaccount:ns:sa")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("a.b", "a__dot__b"),
        ("a-b/c", "a__dash__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("if", "__if__"),
        ("1a", None),
        ("a b", None),
    ],
)
def test_property_names_are_escaped(name: str, written: str | None) -> None:
    assert escape(name) == written


def test_values_follow_their_schema() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "n": {"type": "number"},
            "d": {"type": "string", "format": "duration"},
            "t": {"type": "string", "format": "date-time"},
            "b": {"type": "string", "format": "byte"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}},
            },
        },
    }
    convert = converter(schema)
    assert convert is not None
    given = {"n": 1, "d": "1s", "t": "1970-01-01T00:00:01Z", "b": "YQ==", "set": ["a"], "map": [{"k": "x"}], "o": 1}
    found = convert(given)
    assert isinstance(found["n"], float)
    assert (found["d"], found["t"], found["b"], found["o"]) == (Duration(10**9), Timestamp(10**9), b"a", 1)
    assert isinstance(found["set"], SetList)
    assert isinstance(found["map"], MapList)
    assert converter({"type": "object", "properties": {"s": {"type": "string"}}}) is None


def test_sets_and_maps_do_not_mind_their_order() -> None:
    free = Environment({"d": list_of(DYN), "e": list_of(DYN)})
    equal = compile_expression("d == e", free)
    assert equal.evaluate({"d": SetList([1, 2]), "e": SetList([2, 1])})[0] is True
    assert equal.evaluate({"d": [1, 2], "e": [2, 1]})[0] is False
    first = MapList([{"k": 1, "v": 1}], ("k",))
    second = MapList([{"k": 1, "v": 2}, {"k": 2}], ("k",))
    total = compile_expression("d + e", free).evaluate({"d": first, "e": second})[0]
    assert total == [{"k": 1, "v": 2}, {"k": 2}]
