"""Field ownership and server-side apply: the rules of KEP-555 as sentences, and as properties."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlab.api import managedfields as mf
from netlab.api.errors import StatusError
from netlab.api.managedfields.lastapplied import ANNOTATION
from netlab.api.managedfields.sets import show
from netlab.api.resources import get
from netlab.api.types import Obj, clone

DEPLOYMENT, CONFIG_MAP = get("apps/v1", "Deployment"), get("v1", "ConfigMap")
T0, T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"


def deployment(**spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def template(*containers: Obj) -> Obj:
    return {"spec": {"containers": list(containers)}}


def config_map(data: dict[str, str], **labels: str) -> Obj:
    metadata: Obj = {"name": "c", "labels": labels} if labels else {"name": "c"}
    found: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return {**found, "data": data} if data else found


def owners(obj: Obj) -> dict[str, Obj]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


def applied(live: Obj | None, config: Obj, manager: str, now: str = T0, *, force: bool = False) -> Obj:
    """An apply as the server does it: decoding drops nulls and empty optional fields."""
    resource = get(config["apiVersion"], config["kind"])
    new: Obj = decoded(mf.apply(live, config, resource, manager, now, force=force))
    return live if live is not None and mf.same_but_times(live, new) else new


def decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {k: v if k == "managedFields" else decoded(v) for k, v in value.items()}
    return {k: v for k, v in kept.items() if v not in (None, {})}


def test_apply_creates_and_owns_what_it_says() -> None:
    obj = applied(None, deployment(replicas=2, template=template({"name": "a", "image": "i"})), "me")
    assert obj["spec"]["replicas"] == 2
    assert owners(obj)["me"] == {
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}}},
            },
        }
    }


def test_another_manager_conflicts_and_force_takes_over() -> None:
    live = applied(None, deployment(replicas=2), "me")
    with pytest.raises(StatusError) as error:
        applied(live, deployment(replicas=3), "you", T1)
    assert (error.value.code, error.value.reason) == (409, "Conflict")
    assert error.value.message == 'Apply failed with 1 conflict: conflict with "me": .spec.replicas'
    assert error.value.causes == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "me"', "field": ".spec.replicas"}
    ]
    forced = applied(live, deployment(replicas=3), "you", T1, force=True)
    assert forced["spec"]["replicas"] == 3
    assert list(owners(forced)) == ["you"]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = applied(None, deployment(replicas=2, paused=True), "me")
    with pytest.raises(StatusError) as error:
        applied(live, deployment(replicas=3, paused=False), "you", T1)
    assert error.value.message == (
        'Apply failed with 2 conflicts: conflicts with "me":\n- .spec.paused\n- .spec.replicas'
    )


def test_a_conflict_with_an_update_names_its_version() -> None:
    live = deployment(replicas=2)
    mf.update(None, live, DEPLOYMENT, "kubectl-create", T0)
    with pytest.raises(StatusError) as error:
        applied(live, deployment(replicas=3), "you", T1)
    assert error.value.message.endswith('conflict with "kubectl-create" using apps/v1: .spec.replicas')


def test_the_same_value_is_shared_without_conflict() -> None:
    live = applied(None, deployment(replicas=2), "me")
    shared = applied(live, deployment(replicas=2), "you", T1)
    assert set(owners(shared)) == {"me", "you"}


def test_what_is_no_longer_applied_goes_unless_someone_else_owns_it() -> None:
    live = applied(None, config_map({"a": "1", "b": "2"}, x="y"), "me")
    live = applied(live, config_map({"b": "2"}), "you", T1)
    after = applied(live, config_map({"c": "3"}), "me", T2)
    assert after["data"] == {"b": "2", "c": "3"}
    assert not after["metadata"].get("labels")


def test_containers_merge_by_name_and_keep_their_order() -> None:
    first = deployment(template=template({"name": "a", "image": "1"}, {"name": "b", "image": "1"}))
    live = applied(None, first, "me")
    live = applied(live, deployment(template=template({"name": "sidecar", "image": "s"})), "injector", T1)
    second = deployment(template=template({"name": "a", "image": "2"}, {"name": "b", "image": "1"}))
    after = applied(live, second, "me", T2)
    containers = after["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"]) for c in containers] == [("a", "2"), ("b", "1"), ("sidecar", "s")]


def test_a_removed_container_is_removed() -> None:
    live = applied(None, deployment(template=template({"name": "a", "image": "1"}, {"name": "b", "image": "1"})), "me")
    after = applied(live, deployment(template=template({"name": "b", "image": "1"})), "me", T1)
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["b"]


def test_applying_again_changes_nothing_not_even_times() -> None:
    config = deployment(replicas=2, template=template({"name": "a", "image": "1"}))
    live = applied(None, config, "me", T0)
    assert applied(live, config, "me", T1) == live


def test_an_update_takes_what_it_changes() -> None:
    live = applied(None, deployment(replicas=2, paused=True), "me")
    new = clone(live)
    new["spec"]["replicas"] = 5
    mf.update(live, new, DEPLOYMENT, "scaler", T1)
    assert owners(new) == {"me": {"f:spec": {"f:paused": {}}}, "scaler": {"f:spec": {"f:replicas": {}}}}


def test_an_update_that_changes_nothing_owns_nothing() -> None:
    live = applied(None, deployment(replicas=2), "me")
    new = clone(live)
    mf.update(live, new, DEPLOYMENT, "other", T1)
    assert new == live


def test_status_is_owned_apart_and_only_through_its_endpoint() -> None:
    live = deployment(replicas=2)
    mf.update(None, live, DEPLOYMENT, "kubectl", T0)
    new = clone(live)
    new["status"] = {"replicas": 1}
    new["spec"]["replicas"] = 9
    mf.update(live, new, DEPLOYMENT, "controller", T1, subresource="status")
    entry = next(e for e in new["metadata"]["managedFields"] if e["manager"] == "controller")
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {".": {}, "f:replicas": {}}} or entry["fieldsV1"] == {
        "f:status": {"f:replicas": {}}
    }


def test_objects_from_before_the_first_apply_belong_to_someone() -> None:
    live = deployment(replicas=2)
    with pytest.raises(StatusError) as error:
        applied(live, deployment(replicas=3), "me", T1)
    assert '"before-first-apply"' in error.value.message


def client_side(replicas: int) -> Obj:
    """An object that kubectl applied by itself."""
    plain = deployment(replicas=replicas)
    obj = clone(plain)
    obj["metadata"]["annotations"] = {ANNOTATION: orjson.dumps(plain).decode()}
    mf.update(None, obj, DEPLOYMENT, "kubectl-client-side-apply", T0)
    return obj


def test_kubectl_moves_from_client_side_to_server_side_apply_without_conflict() -> None:
    after = applied(client_side(2), deployment(replicas=3), "kubectl", T1)
    assert after["spec"]["replicas"] == 3
    assert orjson.loads(after["metadata"]["annotations"][ANNOTATION])["spec"] == {"replicas": 3}
    with pytest.raises(StatusError):
        applied(client_side(2), deployment(replicas=3), "someone-else", T1)


def test_what_changed_since_the_client_side_apply_still_conflicts() -> None:
    live = client_side(2)
    new = clone(live)
    new["spec"]["replicas"] = 7
    mf.update(live, new, DEPLOYMENT, "scaler", T1)
    with pytest.raises(StatusError) as error:
        applied(new, deployment(replicas=3), "kubectl", T2)
    assert '"scaler"' in error.value.message


def test_a_client_can_clear_all_ownership() -> None:
    live = applied(None, deployment(replicas=2), "me")
    new = clone(live)
    new["metadata"]["managedFields"] = [{}]
    mf.update(live, new, DEPLOYMENT, "x", T1)
    assert "managedFields" not in new["metadata"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            deployment(bogus=1),
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): "
            ".spec.bogus: field not declared in schema",
        ),
        (
            deployment(template=template({"name": "a"}, {"name": "a"})),
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): "
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            deployment(template=template({"image": "i"})),
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): associative list with keys has an "
            'element that omits key field "name" (and doesn\'t have default value)',
        ),
    ],
)
def test_configurations_that_are_refused(config: Obj, message: str) -> None:
    with pytest.raises(StatusError) as error:
        applied(None, config, "me")
    assert (error.value.code, error.value.message) == (400, message)


def test_many_updaters_are_folded_into_one() -> None:
    live: Obj = config_map({})
    mf.update(None, live, CONFIG_MAP, "m00", T0)
    for number in range(15):
        new = clone(live)
        new.setdefault("data", {})[f"k{number}"] = "v"
        mf.update(live, new, CONFIG_MAP, f"m{number:02}", f"2026-01-01T00:{number:02}:00Z")
        live = new
    entries = live["metadata"]["managedFields"]
    assert len(entries) == 10
    assert "ancient-changes" in owners(live)
    union: set[Any] = set()
    for entry in entries:
        union |= mf.from_fields_v1(entry["fieldsV1"])
    assert {("f:data", f"f:k{number}") for number in range(15)} <= union


def test_paths_read_as_upstream_prints_them() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"a"}', "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')
    assert show(path) == '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]'
    assert show(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers[="x"]'


KEYS = st.sampled_from("abc")
DATA = st.dictionaries(KEYS, st.sampled_from(["1", "2"]), max_size=3)
MANAGERS = st.sampled_from(["m1", "m2"])


@settings(max_examples=200)
@given(st.lists(st.tuples(MANAGERS, DATA), min_size=1, max_size=5), MANAGERS, DATA)
def test_properties_of_apply(history: list[tuple[str, dict[str, str]]], manager: str, data: dict[str, str]) -> None:
    live: Obj | None = None
    for who, what in history:
        live = applied(live, config_map(what), who, force=True)
    forced = applied(live, config_map(data), manager, force=True)
    got = forced.get("data") or {}
    assert {k: got[k] for k in data} == data, "a forced apply gets what it says"
    owned = mf.from_fields_v1(owners(forced).get(manager, {}))
    assert {("f:data", f"f:{k}") for k in data} <= owned, "and owns it"
    assert applied(forced, config_map(data), manager, T1) == forced, "and is idempotent, without force"
    emptied = applied(forced, config_map({}), manager, T1, force=True)
    others = {k for who, fields in owners(emptied).items() if who != manager for k in fields.get("f:data", {})}
    assert {f"f:{k}" for k in emptied.get("data") or {}} == others - {"."}, "what nobody applies any more is gone"


@given(st.frozensets(st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}']), min_size=1, max_size=4).map(tuple)))
def test_sets_and_tries_are_the_same_thing(paths: frozenset[tuple[str, ...]]) -> None:
    assert mf.from_fields_v1(mf.to_fields_v1(paths)) == paths
