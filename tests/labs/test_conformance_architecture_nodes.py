"""architecture's one conformance name."""

from __future__ import annotations

import pytest

from tests.labs.conformance_tools import condition
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Space

pytestmark = pytest.mark.timeout(300)


@conformance("Conformance Tests should have at least two untainted nodes")
def test_two_nodes(space: Space) -> None:  # noqa: F811
    nodes = space.api.get("/api/v1/nodes")["items"]
    ready = [one for one in nodes if condition(one, "Ready")["status"] == "True" and not one["spec"].get("taints")]
    assert len(ready) >= 2
