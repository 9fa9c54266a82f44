"""LIST of a collection: from memory, in pages, at the revision that the client asks for."""

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.operations.options import revision, whole_number
from netlab.apiserver.representation import many
from netlab.apiserver.selection import Selection, parse
from netlab.apiserver.storage import Stored
from netlab.apiserver.wire import continuation
from netlab.apiserver.wire.continuation import Continuation
from netlab.apiserver.wire.message import Answer, Request
from netlab.store import Compacted, Item, Listing

INCONSISTENT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


async def list_(api: Api, request: Request, resource: Resource) -> Answer:
    query = request.query
    selection = parse(resource, request.info.namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    position, at = _place(api, request)
    limit = max(whole_number(request, "limit"), 0)
    stored = api.stored(resource)
    if position is None and not at and not limit and selection.all:
        known = api.lists.whole(request, resource, stored, selection.namespace)
        if known is not None:
            return known
    start = f"{_prefix(stored, selection)}{position.start}" if position and position.start else ""
    try:
        listing = select(api, stored, selection, start=start, revision=at, limit=limit)
    except Compacted:
        if position is None:
            raise errors.expired(f"The provided resource version is too old: {at}") from None
        raise _expired(position) from None
    token = ""
    if listing.remaining and listing.items:
        last = listing.items[-1].key[len(_prefix(stored, selection)) :]
        token = continuation.encode(Continuation(listing.revision, last))
    remaining = listing.remaining if token and selection.all else 0
    return many(request, resource, stored, listing, token, remaining)


def select(
    api: Api, stored: Stored, selection: Selection, *, start: str = "", revision: int = 0, limit: int = 0
) -> Listing:
    """The selected items; `remaining` is exact without selectors, and 0 or 1 (is there more?) with them."""
    namespace = selection.namespace if stored.resource.namespaced else ""
    if selection.all:
        return api.store.list(stored.collection, namespace, start=start, revision=revision, limit=limit)
    name = selection.fields.requires("metadata.name")
    if name is not None and (namespace or not stored.resource.namespaced) and not revision:
        item = api.store.get(stored.key(namespace, name))
        found = [item] if item is not None and selection.matches(item, stored) else []
        return Listing(found, api.store.revision, 0)
    listing = api.store.list(stored.collection, namespace, start=start, revision=revision)
    kept: list[Item] = []
    for item in listing.items:
        if not selection.matches(item, stored):
            continue
        if limit and len(kept) == limit:
            return Listing(kept, listing.revision, 1)
        kept.append(item)
    return Listing(kept, listing.revision, 0)


def _prefix(stored: Stored, selection: Selection) -> str:
    if stored.resource.namespaced and selection.namespace:
        return f"{stored.collection}/{selection.namespace}/"
    return f"{stored.collection}/"


def _place(api: Api, request: Request) -> tuple[Continuation | None, int]:
    """Where to go on, and the exact revision to list at (0: now). Raises StatusError for what cannot be."""
    query = request.query
    asked, match, token = (query.get(name, "") for name in ("resourceVersion", "resourceVersionMatch", "continue"))
    if match:
        _check_match(asked, match, token)
    if token:
        if asked not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        position = continuation.decode(token)
        return position, max(position.revision, 0)
    number = revision(asked)
    if number > api.store.revision:
        raise errors.too_large_resource_version(number, api.store.revision)
    # without a match, limit and resourceVersion together mean Exact, as upstream keeps for old clients
    exact = match == "Exact" or (not match and number and (query.get("limit") or "0") != "0")
    return None, number if exact else 0


def _check_match(asked: str, match: str, token: str) -> None:
    problem = ""
    if token:
        problem = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
    elif not asked:
        problem = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match not in ("Exact", "NotOlderThan"):
        problem = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
    elif match == "Exact" and asked == "0":
        problem = 'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
    if problem:
        reason = "FieldValueForbidden" if problem.startswith("Forbidden") else "FieldValueNotSupported"
        cause = errors.cause(reason, "resourceVersionMatch", problem)
        raise errors.invalid("ListOptions", "", [cause], group="meta.k8s.io")


def _expired(position: Continuation) -> errors.StatusError:
    """410 with a token that goes on with the present, for clients that can live with an inconsistent list."""
    error = errors.expired_continue(INCONSISTENT)
    error.status["metadata"] = {"continue": continuation.encode(Continuation(-1, position.start))}
    return error
