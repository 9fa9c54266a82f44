"""Links in what is proxied, and the rules of service ranges."""

from __future__ import annotations

import pytest

from netlab.api.validation import validate_create, validate_update
from netlab.apiserver.rewriting import rewrite_html, rewrite_url

PREFIX = "/api/v1/namespaces/ns/pods/web:80/proxy"
HOSTS = ("127.0.0.1:6443", "10.244.0.5:80")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/rewriteme", f"{PREFIX}/rewriteme"),
        ("/", f"{PREFIX}/"),
        ("/dir/?a=b#c", f"{PREFIX}/dir/?a=b#c"),
        (f"{PREFIX}/there", f"{PREFIX}/there"),
        ("http://10.244.0.5:80/x", f"{PREFIX}/x"),
        ("http://elsewhere.example/x", "http://elsewhere.example/x"),
        ("relative", "relative"),
        ("#anchor", "#anchor"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_urls(url: str, wanted: str) -> None:
    assert rewrite_url(url, PREFIX, HOSTS) == wanted


def test_html_is_changed_in_its_urls_only() -> None:
    page = (
        "<!DOCTYPE html><!-- <a href='/no'> --><A class=x HREF='/a?b=1&amp;c'>/not</A>"
        '<img src="/i.png" alt="/no"><p title="/no">a < b</p><form action=/f></form>'
    )
    found = rewrite_html(page, lambda url: rewrite_url(url, PREFIX, HOSTS))
    assert found == (
        f"<!DOCTYPE html><!-- <a href='/no'> --><A class=x HREF=\"{PREFIX}/a?b=1&amp;c\">/not</A>"
        f'<img src="{PREFIX}/i.png" alt="/no"><p title="/no">a < b</p><form action="{PREFIX}/f"></form>'
    )


def cidr(*cidrs: str) -> dict[str, object]:
    meta = {"name": "more", "resourceVersion": "1"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": meta, "spec": {"cidrs": [*cidrs]}}


@pytest.mark.parametrize(
    ("cidrs", "fields"),
    [
        (("10.0.0.0/24",), []),
        (("10.0.0.0/24", "fd00::/64"), []),
        ((), ["spec.cidrs"]),
        (("10.0.0.0/24", "10.0.1.0/24"), ["spec.cidrs"]),
        (("10.0.0.0/24", "fd00::/64", "10.0.1.0/24"), ["spec.cidrs"]),
        (("10.0.0.0",), ["spec.cidrs[0]"]),
    ],
)
def test_service_cidrs(cidrs: tuple[str, ...], fields: list[str]) -> None:
    assert [error.field for error in validate_create(cidr(*cidrs))] == fields


@pytest.mark.parametrize(
    ("after", "fields"),
    [
        (("10.0.0.0/24",), []),
        (("10.0.0.0/24", "fd00::/64"), []),
        (("10.0.1.0/24",), ["spec.cidrs[0]"]),
        (("fd00::/64", "10.0.0.0/24"), ["spec.cidrs[0]"]),
        ((), ["spec.cidrs"]),
    ],
)
def test_service_cidrs_do_not_change(after: tuple[str, ...], fields: list[str]) -> None:
    assert [error.field for error in validate_update(cidr(*after), cidr("10.0.0.0/24"))] == fields


def test_ip_addresses() -> None:
    def address(address: str, **parent: str) -> dict[str, object]:
        meta = {"name": address, "resourceVersion": "1"}
        spec = {"parentRef": parent} if parent else {}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": meta, "spec": spec}

    good = address("10.0.0.1", resource="services", name="a")
    assert validate_create(good) == []
    assert [error.field for error in validate_create(address("10.0.0.01", resource="r", name="a"))] == ["metadata.name"]
    assert [error.field for error in validate_create(address("fd00::1"))] == ["spec.parentRef"]
    assert [error.field for error in validate_create(address("fd00::1", name="a"))] == ["spec.parentRef.resource"]
    other = address("10.0.0.1", resource="services", name="b")
    assert [error.field for error in validate_update(other, good)] == ["spec.parentRef"]
