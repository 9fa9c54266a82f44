"""What the API would answer to a POST, from netlab's own rules: decoding, defaults, strategy, validation.

`python -m tests.golden.oracle FILE [-k KIND] [-v]` compares with recorded answers of the real API server and prints the
agreement per kind, and with -v each case that differs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from netlab.api import decoding, errors, strategy
from netlab.api.defaults import apply_defaults
from netlab.api.resources import Resource, by_path
from netlab.api.types import Obj
from netlab.api.validation import validate_create
from netlab.apiserver.allocation.families import fill_families
from tests.golden import admission

Answer = tuple[int, Obj]
RECORDED = 400
"""The recording cut messages after so many characters."""


def resource_of(path: str) -> tuple[Resource, str]:
    """The resource and namespace that a collection path names."""
    parts = path.strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else ""
    found = by_path(group, version, rest[-1])
    assert found is not None, path
    return found, namespace


def admit_create(raw: bytes, path: str, existing: frozenset[str] = frozenset()) -> Answer:
    """(code, Status or the object as it would be stored); `existing` are the namespaces that are there already."""
    resource, namespace = resource_of(path)
    try:
        obj, _ = decoding.decode(raw, resource, "Strict")
        if namespace:
            obj["metadata"].setdefault("namespace", namespace)
        apply_defaults(obj)
        admission.mutate(obj)
        admission.system_fields(obj)
        strategy.prepare_for_create(obj)
        found = fill_families(obj, None, ("IPv4",)) if resource.kind == "Service" else []
        found = found or admission.allocate(obj) or validate_create(obj)
        if found:
            causes = [one.cause() for one in found]
            raise errors.invalid(resource.kind, obj["metadata"].get("name", ""), causes, group=resource.group)
        if resource.kind == "Namespace" and obj["metadata"]["name"] in existing:
            raise errors.already_exists(resource, obj["metadata"]["name"])
    except errors.StatusError as error:
        return error.code, error.status
    return 201, obj


def normal(obj: Obj) -> Obj:
    """Without what differs from run to run."""
    found: Obj = json.loads(json.dumps(obj))
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        found.get("metadata", {}).pop(key, None)
    return admission.normal(found)


def namespaces_of(cases: list[Obj]) -> frozenset[str]:
    """The namespaces that the recorded requests were made in: they existed."""
    found = {resource_of(case["path"])[1] for case in cases}
    return frozenset(found - {""})


def differences(case: Obj, existing: frozenset[str] = frozenset()) -> list[str]:
    """What of the recorded answer is not so here; empty when all agrees."""
    want = case["want"]
    code, got = admit_create(json.dumps(case["req"]).encode(), case["path"], existing)
    if code != want["code"]:
        text = got.get("message", "") if code != 201 else ""
        return [f"code {code}, wanted {want['code']}", f"  got:  {text}", f"  want: {want.get('msg')}"]
    if code == 201:
        return _object_differences(normal(got), normal(want["obj"]), "")
    found = []
    if got["message"][:RECORDED] != want["msg"]:
        found += ["message", f"  got:  {got['message']}", f"  want: {want['msg']}"]
    causes = sorted([c["field"], c["reason"]] for c in got.get("details", {}).get("causes", []))
    if causes != sorted(want["causes"]):
        found += [f"causes {causes}, wanted {want['causes']}"]
    if got["reason"] != want["reason"]:
        found.append(f"reason {got['reason']}, wanted {want['reason']}")
    return found


def _object_differences(got: Any, want: Any, path: str) -> list[str]:
    if isinstance(got, dict) and isinstance(want, dict):
        found = []
        for key in dict.fromkeys([*want, *got]):
            here = f"{path}.{key}"
            if key not in got:
                found.append(f"{here} missing, wanted {want[key]!r}")
            elif key not in want:
                found.append(f"{here} is {got[key]!r}, wanted nothing")
            else:
                found += _object_differences(got[key], want[key], here)
        return found
    if isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        return [
            d for i, (a, b) in enumerate(zip(got, want, strict=True)) for d in _object_differences(a, b, f"{path}[{i}]")
        ]
    return [] if got == want and type(got) is type(want) else [f"{path} is {got!r}, wanted {want!r}"]


def load(path: Path) -> list[Obj]:
    """The cases of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    """Print the agreement per kind."""
    args = [a for a in sys.argv[1:] if not a.startswith("-")]
    verbose = "-v" in sys.argv
    only = args[1] if len(args) > 1 else ""
    total: Counter[str] = Counter()
    good: Counter[str] = Counter()
    cases = load(Path(args[0]))
    existing = namespaces_of(cases)
    for case in cases:
        kind = case["path"].rpartition("/")[2]
        if only and kind != only:
            continue
        total[kind] += 1
        try:
            found = differences(case, existing)
        except Exception as error:
            found = [f"raised {error!r}"]
            if "-x" in sys.argv:
                raise
        good[kind] += not found
        if found and verbose:
            print(f"{case['id']} {case['how']} {case['path']}")
            for one in found:
                print("   ", one[:1500])
    for kind, count in total.most_common():
        print(f"{kind:28} {good[kind]:5} / {count:5}")
    print(f"{'all':28} {good.total():5} / {total.total():5}  {100 * good.total() / max(1, total.total()):.2f} %")


if __name__ == "__main__":
    main()
