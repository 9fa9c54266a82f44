"""Every verb with every real kubectl there is, against a running lab: what it printed, and what the cluster then held.

One lab for each worker; a namespace for each version and chapter. Where a machine has no kubectl at all the test fails:
scripts/test sees to at least one. The table of the matrix is printed at the end (tests/conftest.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.kubectl import (
    chapter_cluster,
    chapter_create,
    chapter_describe,
    chapter_pods,
    chapter_sets,
    chapter_workloads,
)
from tests.kubectl.matrix import CELLS, Chapter, Kubectl
from tests.kubectl.programs import kubectls
from tests.labs.conftest import _short_directory
from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)

CHAPTERS = (
    chapter_pods.RUNNING,
    chapter_pods.LOGS,
    chapter_workloads.CHANGING,
    chapter_workloads.ROLLING,
    chapter_workloads.REMOVING,
    chapter_sets.ROLLING_SETS,
    chapter_sets.SMALL,
    chapter_create.GENERATORS,
    chapter_describe.DESCRIBE,
    chapter_cluster.READING,
    chapter_cluster.NODES,
)


def test_there_is_a_kubectl() -> None:
    assert kubectls(), "no kubectl found; scripts/test installs Debian's"


@pytest.fixture(scope="module")
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


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
@pytest.mark.parametrize("version", kubectls())
def test_verbs(lab: User, version: str, chapter: Chapter, request: pytest.FixtureRequest) -> None:
    versions = list(kubectls())
    minor = int(version.split(".")[1])
    verbs = chapter.of(minor, everything=version in (versions[0], versions[-1]))
    if not verbs:
        return
    namespace = f"{chapter.name}-{version.replace('.', '-')}"
    kubeconfig = lab.home / "state" / "netlab" / "single" / "kubeconfig"
    kubectl = Kubectl(kubectls()[version], minor, namespace, kubeconfig, lab.environment)
    kubectl.says(f"create namespace {namespace}", f"namespace/{namespace} created")
    chapter.prepare(kubectl)
    results, failures = [], []
    for verb in verbs:
        try:
            verb.check(kubectl)
            results.append((verb.name, "ok"))
        except Exception as error:  # one verb's failure must not hide the others
            results.append((verb.name, "FAIL"))
            failures.append(f"{verb.name}: {error or type(error).__name__}")
    request.node.user_properties.append((CELLS, (version, results)))
    kubectl.ok(f"delete namespace {namespace} --wait=false")
    assert not failures, "\n\n".join(failures)
