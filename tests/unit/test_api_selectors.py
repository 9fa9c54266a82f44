"""Label and field selectors: upstream's grammar, upstream's messages."""

import pytest

from netlab.api import fields, labels
from netlab.api.resources import get
from netlab.api.types import Obj

LABELS = {"app": "web", "tier": "front", "n": "5", "e.com/x": ""}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=db", True),
        ("app in (web, db)", True),
        ("app notin (web)", False),
        ("missing notin (web)", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("n>4", True),
        ("n<5", False),
        ("e.com/x=", True),
        ("app in ()", False),
    ],
)
def test_labels_match(selector: str, matches: bool) -> None:
    assert labels.parse_selector(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("=x", "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "unable to parse requirement: found '', expected: identifier after ','"),
        ("a=b c", "unable to parse requirement: found 'c', expected: ',' or 'end of string'"),
    ],
)
def test_label_selector_errors(selector: str, message: str) -> None:
    with pytest.raises(labels.SelectorError) as error:
        labels.parse_selector(selector)
    assert str(error.value) == message


def test_a_selector_prints_sorted() -> None:
    assert str(labels.parse_selector("b=c,a in (y,x),!z")) == "a in (x,y),b=c,!z"


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selector_objects(selector: Obj | None, matches: bool) -> None:
    assert labels.from_label_selector(selector).matches(LABELS) is matches


def test_node_selector_terms_are_alternatives() -> None:
    wanted = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, {}]
    assert labels.node_selector_matches(wanted, LABELS, "n1")
    assert not labels.node_selector_matches(wanted, LABELS, "n2")


POD: Obj = {
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {"nodeName": "n1", "restartPolicy": "Always"},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("spec.nodeName=n1", True),
        ("spec.nodeName=", False),
        ("status.phase!=Failed,status.phase!=Succeeded", True),
        ("metadata.name==p", True),
        ("spec.hostNetwork=false", True),
    ],
)
def test_pods_by_field(selector: str, matches: bool) -> None:
    assert fields.parse_field_selector(selector, get("v1", "Pod")).matches(POD) is matches


def test_a_required_value_can_turn_a_list_into_a_get() -> None:
    selector = fields.parse_field_selector("metadata.name=p", get("v1", "Pod"))
    assert selector.requires("metadata.name") == "p"
    assert selector.requires("metadata.namespace") is None


@pytest.mark.parametrize(
    ("kind", "selector", "message"),
    [
        (("v1", "Pod"), "foo=bar", "field label not supported: foo"),
        (
            ("v1", "ConfigMap"),
            "data=x",
            '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (("batch/v1", "Job"), "foo=bar", 'field label "foo" not supported for Job'),
        (("v1", "Pod"), "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_field_selector_errors(kind: tuple[str, str], selector: str, message: str) -> None:
    with pytest.raises(fields.FieldSelectorError) as error:
        fields.parse_field_selector(selector, get(*kind))
    assert str(error.value) == message


def test_escaped_characters_belong_to_the_value() -> None:
    selector = fields.parse_field_selector(r"metadata.name=a\,b\=c", get("v1", "ConfigMap"))
    assert selector.matches({"metadata": {"name": "a,b=c"}})


def test_events_by_the_object_they_are_about() -> None:
    event = {"involvedObject": {"kind": "Pod", "name": "p", "uid": "u"}, "source": {"component": "kubelet"}}
    selector = "involvedObject.name=p,involvedObject.uid=u,source=kubelet"
    assert fields.parse_field_selector(selector, get("v1", "Event")).matches(event)
