"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place once it is complete.

    Whatever interrupts the writing leaves the previous file as it was, and nothing beside it. Of processes that write the
    same file, each writes its own and the last one's stays. Raises what writing raises; only its caller knows what to
    tell the person.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
