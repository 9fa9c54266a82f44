"""Who may ask the kubelet, by certificate: itself for the trusted, the API server for everybody else."""

from typing import Any

import pytest

from netlab.api.errors import StatusError
from netlab.client.gate import User
from netlab.node.kubelet.delegated import Delegated
from netlab.node.kubelet.server import KubeletServer
from netlab.node.streams.http import Request

Obj = dict[str, Any]


class Reviews:
    """A client whose server allows some subresources of nodes to some users; it counts what it is asked."""

    def __init__(self, *allowed: tuple[str, str]) -> None:
        self.allowed, self.asked = allowed, list[Obj]()

    async def create(self, resource: object, body: Obj) -> Obj:
        spec = body["spec"]
        self.asked.append(spec)
        wanted = spec["resourceAttributes"]
        return {"status": {"allowed": (spec["user"], wanted["subresource"]) in self.allowed}}


def server_of(reviews: Reviews) -> KubeletServer:
    made = object.__new__(KubeletServer)
    made.delegated = Delegated(reviews, "n1")  # type: ignore[arg-type]
    return made


def request(path: str) -> Request:
    return Request("GET", path, (), {})


async def test_the_api_server_and_administrators_need_nobodys_word() -> None:
    reviews = Reviews()
    server = server_of(reviews)
    await server._permit(User("kube-apiserver-kubelet-client", ("system:authenticated",)), request("/exec/a/b/c"))
    await server._permit(
        User(
            "ann",
            (
                "system:masters",
                "system:authenticated",
            ),
        ),
        request("/exec/a/b/c"),
    )
    assert reviews.asked == []


async def test_others_need_the_right_on_the_subresource() -> None:
    reviews = Reviews(("joe", "pods"), ("ann", "proxy"))
    server = server_of(reviews)
    await server._permit(
        User(
            "joe",
            (
                "team",
                "system:authenticated",
            ),
        ),
        request("/pods"),
    )
    await server._permit(User("ann", ("system:authenticated",)), request("/pods"))
    assert reviews.asked[0]["groups"] == ["team", "system:authenticated"]
    assert reviews.asked[0]["resourceAttributes"]["name"] == "n1"
    with pytest.raises(StatusError) as caught:
        await server._permit(
            User(
                "joe",
                (
                    "team",
                    "system:authenticated",
                ),
            ),
            request("/exec/a/b/c"),
        )
    assert caught.value.code == 403
    assert caught.value.message == "Forbidden (user=joe, verb=get, resource=nodes, subresource(s)=[proxy])"
    with pytest.raises(StatusError) as caught:
        await server._permit(None, request("/pods"))
    assert caught.value.code == 401
