"""Asks the metrics APIs: metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io.

Source followed: pkg/controller/podautoscaler/metrics.

Whatever goes wrong becomes a Reading with a problem, in client-go's words where no Status says it better.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import orjson

from netlab.api import meta, quantity
from netlab.api.labels import from_label_selector
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.transport import TransportError
from netlab.controllers.horizontal.calculator import Sample
from netlab.controllers.horizontal.decide import Reading

RESOURCES = "/apis/metrics.k8s.io/v1beta1"
CUSTOM = ("/apis/custom.metrics.k8s.io/v1beta2", "/apis/custom.metrics.k8s.io/v1beta1")
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
WINDOW = 60.0


class FetchError(Exception):
    """No metrics; the text is for the event."""


async def read(client: Client, spec: Obj, namespace: str, selector: str) -> Reading:
    """What the API says of one entry of spec.metrics. `selector` selects the target's pods."""
    try:
        kind = spec["type"]
        if kind == "Resource":
            return await _resource(client, spec["resource"]["name"], "", namespace, selector)
        if kind == "ContainerResource":
            source = spec["containerResource"]
            return await _resource(client, source["name"], source["container"], namespace, selector)
        if kind == "Pods":
            return await _pods(client, spec["pods"]["metric"], namespace, selector)
        if kind == "Object":
            return await _object(client, spec["object"], namespace)
        return await _external(client, spec["external"]["metric"], namespace)
    except FetchError as error:
        return Reading(problem=str(error))


async def _get(client: Client, path: str, params: Mapping[str, str], what: str) -> Obj:
    try:
        response = await client.transport.request("GET", path, params=params)
    except TransportError as error:
        raise FetchError(str(error)) from None
    if response.status == 200:
        found: Obj = orjson.loads(response.body)
        return found
    try:
        status = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        raise FetchError(str(status.get("message")))
    words = _WORDS.get(response.status, f"an error on the server ({response.body[:200].decode(errors='replace')!r})")
    raise FetchError(f"{words} (get {what})")


_WORDS = {
    403: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""client-go's for answers that are no Status."""


async def _resource(client: Client, name: str, container: str, namespace: str, selector: str) -> Reading:
    api = "resource metrics API"
    path = f"{RESOURCES}/namespaces/{namespace}/pods"
    try:
        found = await _get(client, path, {"labelSelector": selector}, "pods.metrics.k8s.io")
    except FetchError as error:
        raise FetchError(f"unable to fetch metrics from {api}: {error}") from None
    if not found.get("items"):
        raise FetchError(f"no metrics returned from {api}")
    samples = {}
    for pod in found["items"]:
        used = {one["name"]: one["usage"] for one in pod.get("containers") or ()}
        if container:
            if container not in used:
                where = f"{meta.namespace(pod)}/{meta.name(pod)}"
                raise FetchError(f"container {container} not present in metrics for pod {where}")
            used = {container: used[container]}
        if used and all(name in usage for usage in used.values()):
            value = sum(quantity.milli(usage[name]) for usage in used.values())
            samples[meta.name(pod)] = Sample(value, meta.parse_time(pod["timestamp"]), _seconds(pod.get("window")))
    return Reading(samples)


def _seconds(window: str | None) -> float:
    """Go's text of a duration in hours, minutes and seconds."""
    total, number = 0.0, ""
    for char in window or "":
        if char.isdigit() or char == ".":
            number += char
        elif number:
            total += float(number) * {"h": 3600.0, "m": 60.0}.get(char, 1.0)
            number = ""
    return total or WINDOW


async def _custom(client: Client, path: str, metric: Obj, more: Mapping[str, str]) -> Obj:
    params = dict(more)
    if metric.get("selector"):
        params["metricLabelSelector"] = str(from_label_selector(metric["selector"]))
    api = "custom metrics API"
    for version in CUSTOM:
        response = await client.transport.request("GET", version)
        if response.status == 200:
            try:
                found = await _get(client, version + path, params, f"{metric['name']}.custom.metrics.k8s.io")
            except FetchError as error:
                raise FetchError(f"unable to fetch metrics from {api}: {error}") from None
            if not found.get("items"):
                raise FetchError(f"no metrics returned from {api}")
            return found
    raise FetchError(f"unable to fetch metrics from {api}: no custom metrics API (custom.metrics.k8s.io) registered")


async def _pods(client: Client, metric: Obj, namespace: str, selector: str) -> Reading:
    path = f"/namespaces/{namespace}/pods/*/{quote(metric['name'])}"
    found = await _custom(client, path, metric, {"labelSelector": selector})
    samples = {}
    for one in found["items"]:
        window = float(one.get("windowSeconds") or WINDOW)
        stamp = meta.parse_time(one["timestamp"])
        samples[one["describedObject"]["name"]] = Sample(quantity.milli(one["value"]), stamp, window)
    return Reading(samples)


async def _object(client: Client, source: Obj, namespace: str) -> Reading:
    about, metric = source["describedObject"], source["metric"]
    group = (about.get("apiVersion") or "").rpartition("/")[0]
    plural = await plural_of(client, about.get("apiVersion") or "v1", about["kind"])
    resource = f"{plural}.{group}" if group else plural
    place = f"/namespaces/{namespace}/{resource}/{about['name']}"
    if about["kind"] == "Namespace":
        place = f"/namespaces/{about['name']}/metrics"
    found = await _custom(client, f"{place}/{quote(metric['name'])}", metric, {})
    return Reading(value=quantity.milli(found["items"][0]["value"]))


async def _external(client: Client, metric: Obj, namespace: str) -> Reading:
    api, name = "external metrics API", metric["name"]
    params = {"labelSelector": str(from_label_selector(metric.get("selector") or {}))}
    try:
        path = f"{EXTERNAL}/namespaces/{namespace}/{quote(name)}"
        found = await _get(client, path, params, f"{name}.external.metrics.k8s.io")
    except FetchError as error:
        raise FetchError(f"unable to fetch metrics from {api}: {error}") from None
    if not found.get("items"):
        raise FetchError(f"no metrics returned from {api}")
    return Reading(value=sum(quantity.milli(one["value"]) for one in found["items"]))


async def plural_of(client: Client, api_version: str, kind: str) -> str:
    """A kind's resource, from discovery: also of custom kinds. Raises FetchError in apimachinery's words."""
    path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    try:
        found = await _get(client, path, {}, api_version)
    except FetchError:
        found = {}
    for resource in found.get("resources") or ():
        if resource["kind"] == kind and "/" not in resource["name"]:
            return str(resource["name"])
    group, _, version = api_version.rpartition("/")
    raise FetchError(f'no matches for kind "{kind}" in version "{f"{group}/{version}" if group else version}"')
