"""Remembers for a moment what an image name means: pods of one template ask the same, a thousand times."""

from __future__ import annotations

import time

from netlab.runtime.images.model import Image, ImageStore

FRESH = 2.0


class ImageCache:
    """Over an ImageStore. Only what was found is remembered, for `FRESH` seconds."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Image]] = {}

    def resolve(self, ref: str) -> Image:
        """Raises ImageNotFound and InvalidImageName."""
        now = time.monotonic()
        known = self._known.get(ref)
        if known is not None and known[0] > now:
            return known[1]
        image = self._store.resolve(ref)
        self._known[ref] = (now + FRESH, image)
        return image
