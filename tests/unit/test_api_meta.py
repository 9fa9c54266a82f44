"""Metadata helpers and error Statuses."""

import uuid

import pytest

from netlab.api import errors, meta
from netlab.api.resources import get
from netlab.api.types import Obj, clone


def test_keys() -> None:
    assert meta.key({"metadata": {"name": "a", "namespace": "n"}}) == "n/a"
    assert meta.key({"metadata": {"name": "a"}}) == "a"
    assert meta.split_key("n/a") == ("n", "a")
    assert meta.split_key("a") == ("", "a")


def test_times() -> None:
    assert meta.rfc3339(0) == "1970-01-01T00:00:00Z"
    assert meta.rfc3339_micro(1.5) == "1970-01-01T00:00:01.500000Z"
    assert meta.parse_time("1970-01-01T00:00:01.500000Z") == 1.5
    assert meta.parse_time("1970-01-01T00:00:01.123456789Z") == pytest.approx(1.123456)
    assert meta.parse_time("1970-01-01T01:00:00+01:00") == 0


def test_uids_are_random_version_4() -> None:
    assert uuid.UUID(meta.new_uid()).version == 4
    assert meta.new_uid() != meta.new_uid()


def test_generated_names_are_cut_to_fit() -> None:
    assert meta.generate_name("web-", lambda stop: 0) == "web-bbbbb"
    assert len(meta.generate_name("x" * 100)) == 63


def test_a_condition_moves_its_time_only_with_its_status() -> None:
    conditions: list[Obj] = []
    assert meta.set_condition(conditions, {"type": "Ready", "status": "False"}, "t1")
    assert meta.set_condition(conditions, {"type": "Ready", "status": "False", "reason": "x"}, "t2")
    assert conditions == [{"type": "Ready", "status": "False", "reason": "x", "lastTransitionTime": "t1"}]
    assert meta.set_condition(conditions, {"type": "Ready", "status": "True"}, "t3")
    assert conditions[0]["lastTransitionTime"] == "t3"
    assert not meta.set_condition(conditions, {"type": "Ready", "status": "True"}, "t4")


def test_owners() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "u"}}
    pod = {"metadata": {"ownerReferences": [meta.owner_reference(owner)]}}
    assert meta.controlled_by(pod, owner)
    assert meta.controller_of({"metadata": {}}) is None


def test_get_reads_missing_as_default() -> None:
    obj = {"a": [{"b": None}]}
    assert meta.get(obj, "a", 0, "b", default=1) == 1
    assert meta.get(obj, "a", 5, "b") is None
    assert meta.get(obj, "a", "b", default="x") == "x"


def test_a_clone_shares_nothing() -> None:
    original = {"a": [{"b": 1}]}
    copied = clone(original)
    copied["a"][0]["b"] = 2
    assert original == {"a": [{"b": 1}]}


POD, DEPLOYMENT = get("v1", "Pod"), get("apps/v1", "Deployment")
CAUSES = [
    errors.cause("FieldValueRequired", "spec.a", "Required value"),
    errors.cause("FieldValueInvalid", "spec.b", 'Invalid value: "x": no'),
]


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (errors.not_found(POD, "p"), 404, "NotFound", 'pods "p" not found'),
        (errors.not_found(DEPLOYMENT, "d"), 404, "NotFound", 'deployments.apps "d" not found'),
        (errors.already_exists(DEPLOYMENT, "d"), 409, "AlreadyExists", 'deployments.apps "d" already exists'),
        (
            errors.conflict(DEPLOYMENT, "d"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on deployments.apps "d": the object has been modified; '
            "please apply your changes to the latest version and try again",
        ),
        (
            errors.invalid("Deployment", "d", CAUSES, group="apps"),
            422,
            "Invalid",
            'Deployment.apps "d" is invalid: [spec.a: Required value, spec.b: Invalid value: "x": no]',
        ),
        (
            errors.invalid("Pod", "p", CAUSES[:1]),
            422,
            "Invalid",
            'Pod "p" is invalid: spec.a: Required value',
        ),
        (errors.forbidden(POD, "p", "no"), 403, "Forbidden", 'pods "p" is forbidden: no'),
        (
            errors.too_many_requests(),
            429,
            "TooManyRequests",
            "Too many requests, please try again later.",
        ),
        (errors.unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (
            errors.internal("boom"),
            500,
            "InternalError",
            "Internal error occurred: boom",
        ),
    ],
    ids=lambda value: value.reason if isinstance(value, errors.StatusError) else None,
)
def test_errors_read_as_upstream(error: errors.StatusError, code: int, reason: str, message: str) -> None:
    assert (error.code, error.reason, error.message) == (code, reason, message)
    assert error.status["kind"] == "Status"


def test_quote_is_gos() -> None:
    assert errors.quote('a"\n\x01é') == '"a\\"\\n\\x01é"'
