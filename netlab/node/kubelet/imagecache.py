"""Remembers for a moment what an image name means: pods of one template ask the same, a thousand times."""

from __future__ import annotations

import time
from functools import lru_cache

from netlab.runtime.images.model import Image, ImageStore, InvalidImageName
from netlab.runtime.images.reference import parse

FRESH = 2.0


@lru_cache(maxsize=256)
def shown(ref: str, image_id: str) -> tuple[str, str]:
    """(image, imageID) of a container status, as containerd reports them: both in full, the second by digest."""
    try:
        full = parse(ref)
    except InvalidImageName:
        return ref, image_id
    return str(full), f"{full.repository}@{image_id}" if image_id.startswith("sha256:") else image_id


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
