"""One lab for all tests of clients in a worker, and a namespace of its own for each test."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.labs.conftest import _short_directory
from tests.labs.tools import User, until

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    """The clients leave sockets to the collector: here, not in another test that would be blamed for them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def lab() -> Iterator[User]:
    user = User(_short_directory())
    user.prepare()
    try:
        up = user.klab("up", "single")
        assert up.returncode == 0, up.stderr
        yield user
    finally:
        user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)


@pytest.fixture(scope="session")
def kubeconfig(lab: User) -> Path:
    return lab.home / "state" / "netlab" / "single" / "kubeconfig"


@pytest.fixture(scope="session")
def official(kubeconfig: Path) -> Iterator[client.ApiClient]:
    """The official client, connected."""
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as connected:
        yield connected
        connected.rest_client.pool_manager.clear()


@pytest.fixture
def core(official: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(official)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """Made for this test, with its default service account; deleted after it."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    core.create_namespace({"metadata": {"name": name}})
    until("the default service account", lambda: bool(core.list_namespaced_service_account(name).items))
    yield name
    core.delete_namespace(name, propagation_policy="Background")
