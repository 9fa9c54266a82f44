# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH208, SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""Removing containers' writable layers from the lab's tmpfs without making PID 1 wait."""

import os

TRASH = "/run/netlab/trash"


class Trash:
    """A layer is renamed into the trash (instant); a fork that nobody waits for empties it."""

    def __init__(self) -> None:
        self.count = 0

    def put(self, path: str) -> None:
        self.count += 1
        try:
            os.makedirs(TRASH, mode=0o700, exist_ok=True)
            os.rename(path, f"{TRASH}/{self.count}")
        except OSError:
            return  # it was never made, or is gone
        if self.count % 16 == 0:
            self.empty()

    def empty(self) -> None:
        if os.fork() == 0:
            try:
                for name in os.listdir(TRASH):
                    remove_tree(f"{TRASH}/{name}")
            finally:
                os._exit(0)


def remove_tree(path: str) -> None:
    """rm -rf without following links; what cannot be removed stays."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
                else:
                    try:
                        os.unlink(entry.path)
                    except OSError:
                        pass
        os.rmdir(path)
    except OSError:
        pass
