"""Where API objects live: revisioned keys with encoded values, a watchable history, nothing of Kubernetes.

`contract.py` says what every store promises; `sqlite.py` keeps it in one file on disk. A store knows keys, bytes and
revisions. It may not know resources, HTTP or JSON: the API server encodes, the store remembers.
"""

from netlab.store.contract import (
    Compacted,
    Conflict,
    Event,
    Exists,
    Item,
    Listing,
    NotFound,
    Store,
    StoreError,
    StoreFull,
    collection_of,
    key_of,
)

__all__ = [
    "Compacted",
    "Conflict",
    "Event",
    "Exists",
    "Item",
    "Listing",
    "NotFound",
    "Store",
    "StoreError",
    "StoreFull",
    "collection_of",
    "key_of",
]
