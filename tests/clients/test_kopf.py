"""A kopf operator with a kind of its own: handlers, finalizer, status, timers; killed, and resumed by another."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

from tests.clients.objects import definition
from tests.labs.tools import User, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore::ResourceWarning")]
EXAMPLE = Path(__file__).with_name("operator_example.py")


class Shops:
    """The operator's objects, seen by somebody else."""

    def __init__(self, official: client.ApiClient, namespace: str, journal: Path) -> None:
        self.group, self.namespace, self.journal = f"{namespace}.example.com", namespace, journal
        self.api, self.core = client.CustomObjectsApi(official), client.CoreV1Api(official)
        self.place = (self.group, "v1", namespace, "shops")

    def create(self, name: str, items: int) -> None:
        body = {"apiVersion": f"{self.group}/v1", "kind": "Shop", "metadata": {"name": name}, "spec": {"items": items}}
        self.api.create_namespaced_custom_object(*self.place, body)

    def get(self, name: str) -> Any:
        return self.api.get_namespaced_custom_object(*self.place, name)

    def patch(self, name: str, body: Any) -> None:
        self.api.patch_namespaced_custom_object(*self.place, name, body, _content_type="application/merge-patch+json")

    def delete(self, name: str) -> None:
        self.api.delete_namespaced_custom_object(*self.place, name)

    def gone(self, name: str) -> bool:
        try:
            self.get(name)
        except ApiException as error:
            return bool(error.status == 404)
        return False

    def items(self, name: str) -> str:
        try:
            return str(self.core.read_namespaced_config_map(f"shop-{name}", self.namespace).data["items"])
        except ApiException:
            return ""

    def noted(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


@pytest.fixture
def shops(official: client.ApiClient, namespace: str, tmp_path: Path) -> Iterator[Shops]:
    made = Shops(official, namespace, tmp_path / "journal")
    definitions = client.ApiextensionsV1Api(official)
    definitions.create_custom_resource_definition(definition("shops", "Shop", made.group))
    name = f"shops.{made.group}"

    def established() -> bool:
        conditions = definitions.read_custom_resource_definition(name).status.conditions or []
        return any(one.type == "Established" and one.status == "True" for one in conditions)

    until("the definition is established", established)
    yield made
    definitions.delete_custom_resource_definition(name)


@pytest.fixture
def operator(shops: Shops, lab: User, kubeconfig: Path, tmp_path: Path) -> Any:
    """Starts the operator for the length of a block; ended by SIGKILL where the block asks for it."""

    @contextlib.contextmanager
    def run(*, kill: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **lab.environment,
            "KUBECONFIG": str(kubeconfig),
            "SHOP_GROUP": shops.group,
            "SHOP_JOURNAL": str(shops.journal),
        }
        command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", shops.namespace, str(EXAMPLE)]
        before = shops.noted().count("started")
        with (tmp_path / "operator.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        try:
            until("the operator has started", lambda: shops.noted().count("started") > before)
            yield process
            assert process.poll() is None, (tmp_path / "operator.log").read_text()
        finally:
            (process.kill if kill else process.terminate)()
            process.wait(30)

    return run


def test_an_operator_and_its_successor(shops: Shops, operator: Any) -> None:
    with operator(kill=True):
        shops.create("one", 1)
        until("the handler's ConfigMap", lambda: shops.items("one") == "1")
        until("the result is in the status", lambda: "created" in shops.get("one").get("status", {}))
        found = shops.get("one")
        assert found["status"]["created"] == {"configMap": "shop-one"}
        assert found["metadata"]["finalizers"] == [f"{shops.group}/finalizer"]
        until("the timer ticks", lambda: shops.get("one")["status"].get("ticks", 0) >= 2)
        shops.patch("one", {"spec": {"items": 2}})
        until("the change is handled", lambda: shops.items("one") == "2")
        until("and told", lambda: shops.get("one")["status"].get("items") == 2)
        assert "changed one 1 2" in shops.noted()
    # nobody is there: what happens now is for the next one
    shops.patch("one", {"spec": {"items": 3}})
    shops.create("two", 5)
    shops.delete("one")
    assert not shops.gone("one"), "its finalizer holds it"
    assert shops.items("two") == ""
    with operator():
        until("the object that waited is let go", lambda: shops.gone("one"))
        until("what was missed is made", lambda: shops.items("two") == "5")
        noted = shops.noted()
        assert noted.count("created one") == 1
        assert "deleted one" in noted
        until("its ConfigMap goes with it", lambda: shops.items("one") == "")
        shops.delete("two")
        until("a deletion at once", lambda: shops.gone("two"))
    assert os.path.exists(shops.journal)
