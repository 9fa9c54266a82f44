"""Tests on the real kernel, each in namespaces of its own.

A test that takes the `sandbox` fixture runs, body and all, in a forked child inside a fresh user, network and mount
namespace (uid 0 there, /run an empty tmpfs), also when pytest is started by root. Fixtures are made before the fork,
outside; whatever must live in the sandbox is made by the test's body. Nothing can be left behind: the child's end takes
everything with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from netlab.kernel import throwaway


class Sandbox:
    """The marker object that tests receive; it has nothing to say."""


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if "sandbox" not in pyfuncitem.fixturenames:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run_in_sandbox(partial(_call, inspect.unwrap(pyfuncitem.obj), arguments))
    return True


def run_in_sandbox(body: Callable[[], Any]) -> None:
    """Run `body` in the sandbox; its failure is this test's failure, its skip this test's skip."""
    __tracebackhide__ = True
    try:
        throwaway.run(body)
    except throwaway.ChildFailed as failure:
        if failure.kind == "Skipped":
            pytest.skip(failure.text.strip().rpartition("Skipped: ")[2])
        pytest.fail(failure.text, pytrace=False)


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    result = function(**arguments)
    if inspect.iscoroutine(result):
        asyncio.run(result)
