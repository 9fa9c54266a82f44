"""pytest fixtures for tests of networks: loaded by the `pytest11` entry point wherever netlab is installed.

`lab` is a running lab of the topology that `@pytest.mark.topology(NAME)` names, as it was when it had just started;
`lab_factory` starts labs for one test. Imports nothing of a lab until a fixture is used: a test run that needs none
pays nothing.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from netlab.lab.facade import Lab
    from netlab.lab.sessions import OwnedLabs

DEFAULT_TOPOLOGY = "single"
_LABS = pytest.StashKey["OwnedLabs"]()
_USED = pytest.StashKey["list[Lab]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("netlab", "labs of a Kubernetes cluster's network")
    group.addoption("--netlab-keep", action="store_true", help="leave the labs running after the tests, and name them")
    group.addoption(
        "--netlab-artifacts",
        metavar="DIR",
        help="for tests that fail: packets (pcapng), events, pods and their logs, in a directory for each test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker, so that --strict-markers knows it in every project."""
    config.addinivalue_line(
        "markers",
        "topology(name_or_path, *, fresh=False): the topology of the `lab` fixture (a shipped one, or a file beside "
        "the test); fresh: a lab of this test's own instead of the session's",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Labs end with the session; what a killed worker left, too."""
    labs = session.config.stash.get(_LABS, None)
    if labs is not None:
        _end(labs, session.config)
    if "netlab.lab.sessions" in sys.modules or getattr(session.config.option, "numprocesses", None):
        from netlab.lab.sessions import sweep

        sweep()


def _end(labs: OwnedLabs, config: pytest.Config) -> None:
    names = labs.end_all()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if names and labs.keep and reporter is not None:
        reporter.write_line("")
        for name in names:
            reporter.write_line(f"netlab: lab '{name}' was kept: klab --lab {name} status; klab down {name} --purge")


def _labs(config: pytest.Config) -> OwnedLabs:
    """The labs of this process; the first call ends what killed sessions have left."""
    known = config.stash.get(_LABS, None)
    if known is None:
        from netlab.lab.sessions import OwnedLabs, sweep

        _hide_our_frames()
        sweep()
        worker = getattr(config, "workerinput", {}).get("workerid", "")
        known = config.stash[_LABS] = OwnedLabs(worker, keep=config.getoption("--netlab-keep"))
        atexit.register(known.end_all)
    return known


def _hide_our_frames() -> None:
    """A LabError is told in a sentence at the test's own line: how we came to it is of no use there."""
    from netlab.lab import portal
    from netlab.lab.facade import api, lab, places, recording, speaking
    from netlab.lab.record import LabError

    for module in (api, lab, places, portal, recording, speaking):
        module.__dict__["__tracebackhide__"] = lambda problem: problem.errisinstance(LabError)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A running lab (`netlab.Lab`), as it was when it had just started; the session's, shared by tests in turn."""
    topology, fresh = _topology(request)
    labs = _labs(request.config)
    found = _started(lambda: labs.start(topology) if fresh else labs.shared(topology))
    request.node.stash.setdefault(_USED, []).append(found)
    yield found
    if fresh:
        labs.end(found)


@pytest.fixture
def lab_factory(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Lab]]:
    """`lab_factory("leaf-spine")` starts a lab that ends with the test."""
    labs = _labs(request.config)
    made: list[Lab] = []

    def start(topology: str = DEFAULT_TOPOLOGY) -> Lab:
        found = _started(lambda: labs.start(_beside(request, topology)))
        made.append(found)
        request.node.stash.setdefault(_USED, []).append(found)
        return found

    yield start
    for found in made:
        labs.end(found)


def _topology(request: pytest.FixtureRequest) -> tuple[str, bool]:
    marker = request.node.get_closest_marker("topology")
    if marker is None:
        return DEFAULT_TOPOLOGY, False
    if len(marker.args) != 1 or marker.kwargs.keys() - {"fresh"}:
        _refuse("write @pytest.mark.topology(NAME) or @pytest.mark.topology(NAME, fresh=True)")
    return _beside(request, str(marker.args[0])), bool(marker.kwargs.get("fresh"))


def _beside(request: pytest.FixtureRequest, topology: str) -> str:
    """A file beside the test, where there is one; else as `klab up` takes it."""
    file = request.path.parent / topology.partition(":")[0]
    return str(request.path.parent / topology) if file.is_file() else topology


def _started(start: Callable[[], Lab]) -> Lab:
    """A lab that does not start is a sentence with its remedy, not a traceback."""
    from netlab.kernel.errors import KernelError
    from netlab.lab.record import LabError
    from netlab.sandbox.doctor import checks
    from netlab.sandbox.spec import SandboxError
    from netlab.topology.errors import TopologyError

    try:
        return start()
    except (TopologyError, LabError) as error:
        why = str(error)
    except (SandboxError, KernelError, OSError) as error:
        lacks = [check for check in checks() if not check.ok and check.level == "required"]
        why = "\n".join([str(error), *(f"{check.name} is {check.found}: {check.remedy}" for check in lacks)])
    return _refuse(why)


def _refuse(why: str) -> NoReturn:
    pytest.fail(f"netlab: no lab for this test: {why}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What the labs of a failing test look like: in the report, and as files where --netlab-artifacts says."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    used = item.stash.get(_USED, [])
    if report.failed and call.when in ("setup", "call") and used:
        from netlab.lab import evidence

        directory = item.config.getoption("--netlab-artifacts")
        for one in used:
            text = evidence.summary(one)
            if directory:
                where = Path(directory) / evidence.file_name(item.nodeid) / one.name.split("-", 2)[-1]
                evidence.write(one, where)
                text += f"\nartifacts: {where}"
            report.sections.append((f"netlab: lab '{one.name}' when the test failed", text))
    return report  # type: ignore[return-value]
