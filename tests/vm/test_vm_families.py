"""IPVS mode in IPv6 and for SCTP, on the stock kernel: what tests/kernel/test_proxy_families.py has for other modes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest

from netlab.dataplane.services import Family
from netlab.kernel import throwaway
from tests.kernel.test_proxy_families import refused_without_endpoints, sctp_translated, served_in_both_families

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]


def in_child(body: partial[Coroutine[Any, Any, None]]) -> None:
    throwaway.run(lambda: asyncio.run(body()), user=False)


def test_a_dual_stack_service_is_served_in_both_families() -> None:
    in_child(partial(served_in_both_families, "ipvs"))


def test_an_ipv6_service_without_endpoints_refuses() -> None:
    in_child(partial(refused_without_endpoints, "ipvs"))


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_sctp_packets_are_translated_there_and_back(family: Family) -> None:
    in_child(partial(sctp_translated, "ipvs", family))
