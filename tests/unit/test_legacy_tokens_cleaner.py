"""Token Secrets that nobody uses: what is marked, what is deleted, what stays."""

from typing import Any

import pytest

from netlab.api import legacy_tokens as legacy
from netlab.client.client import Client
from netlab.client.fake import FakeApi
from netlab.client.kinds import SECRETS
from netlab.controllers import ControllersConfig
from netlab.controllers.context import Context
from netlab.controllers.legacy_tokens_cleaner import LegacyTokensCleaner, mounted, tracked_long_enough, verdict

Obj = dict[str, Any]
YEAR = 365 * 86400.0
NOW = 1_800_000_000.0  # 2027-01-15
ACCOUNT: Obj = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "robot", "namespace": "d", "uid": "7"},
    "secrets": [{"name": "robot-token-1"}],
}


def secret(made: str = "2024-01-01T00:00:00Z", **labels: str) -> Obj:
    named = {f"kubernetes.io/legacy-token-{key.replace('_', '-')}": value for key, value in labels.items()}
    metadata = {"name": "robot-token-1", "namespace": "d", "uid": "s", "creationTimestamp": made, "labels": named}
    metadata["annotations"] = {legacy.ACCOUNT_NAME: "robot"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": legacy.TYPE}


@pytest.mark.parametrize(
    ("given", "account", "used", "wanted"),
    [
        (secret(), ACCOUNT, (), "mark"),
        (secret("2026-06-01T00:00:00Z"), ACCOUNT, (), ""),
        (secret(last_used="2026-06-01"), ACCOUNT, (), ""),
        (secret(last_used="2025-06-01"), ACCOUNT, (), "mark"),
        (secret(invalid_since="nonsense"), ACCOUNT, (), "mark"),
        (secret(invalid_since="2026-06-01"), ACCOUNT, (), ""),
        (secret(invalid_since="2025-06-01"), ACCOUNT, (), "delete"),
        (secret(invalid_since="2025-06-01", last_used="2025-07-01"), ACCOUNT, (), ""),
        (secret(), ACCOUNT, ("d/robot-token-1",), ""),
        (secret(), {**ACCOUNT, "secrets": []}, (), ""),
        (secret(), None, (), ""),
        ({**secret(), "type": "Opaque"}, ACCOUNT, (), ""),
    ],
)
def test_what_is_due(given: Obj, account: Obj | None, used: tuple[str, ...], wanted: str) -> None:
    assert verdict(given, account, used, NOW, YEAR) == wanted


def test_where_pods_have_secrets() -> None:
    env = {"valueFrom": {"secretKeyRef": {"name": "c"}}}
    spec = {
        "volumes": [{"secret": {"secretName": "a"}}, {"projected": {"sources": [{"secret": {"name": "b"}}]}}],
        "containers": [{"env": [env], "envFrom": [{"secretRef": {"name": "e"}}]}],
    }
    assert mounted([{"metadata": {"namespace": "d"}, "spec": spec}]) == {"d/a", "d/b", "d/c", "d/e"}


def test_nothing_is_due_before_uses_were_noted_for_long() -> None:
    assert not tracked_long_enough(None, NOW, YEAR)
    assert not tracked_long_enough({"data": {"since": "2026-06-01"}}, NOW, YEAR)
    assert tracked_long_enough({"data": {"since": "2025-06-01"}}, NOW, YEAR)


async def test_marked_then_deleted() -> None:
    api = FakeApi()
    tracking: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"since": "2020-01-01"}}
    for obj in ({**tracking, "metadata": {"name": legacy.TRACKING, "namespace": "kube-system"}}, ACCOUNT, secret()):
        api.add(obj)
    context = Context(Client(api), ControllersConfig())
    cleaner = LegacyTokensCleaner(context)
    await context.synced(cleaner.accounts, cleaner.secrets, cleaner.pods)
    try:
        await cleaner.sweep(NOW)
        found = (await context.client.list(SECRETS, "d"))["items"]
        assert found[0]["metadata"]["labels"][legacy.INVALID_SINCE] == "2027-01-15"
        await cleaner.sweep(NOW + YEAR + 86400)
        assert (await context.client.list(SECRETS, "d"))["items"] == []
    finally:
        for informer in context.informers.values():
            await informer.stop()
