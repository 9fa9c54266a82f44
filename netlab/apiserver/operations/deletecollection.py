"""DELETE of a collection: every selected object, each as a DELETE of its own."""

import asyncio

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.operations.delete import delete_key, deletion
from netlab.apiserver.operations.list_ import select
from netlab.apiserver.representation import many
from netlab.apiserver.selection import parse
from netlab.apiserver.wire.message import Answer, Request
from netlab.store import Item, Listing


async def deletecollection(api: Api, request: Request, resource: Resource) -> Answer:
    query, stored = request.query, api.stored(resource)
    wish = deletion(request)
    selection = parse(resource, request.info.namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    listing = select(api, stored, selection)

    async def one(item: Item) -> None:
        try:
            await delete_key(api, request, resource, item.key, wish)
        except errors.StatusError as error:
            if error.code != 404:
                raise

    # together, so that they share commits
    await asyncio.gather(*(one(item) for item in listing.items))
    return many(request, resource, stored, Listing(listing.items, api.store.revision, 0), "", 0)
