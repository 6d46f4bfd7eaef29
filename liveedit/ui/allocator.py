"""What glibc does with memory that was freed: used again by every thread, and given back to the system."""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8  # of glibc's malloc.h


def share_arenas() -> None:
    """Let all threads allocate from two arenas: glibc gives each thread its own, and what one visitor's thread freed would
    serve no other's."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back() -> None:
    """Return freed memory to the system: glibc does so only from an arena's end, where what a visitor keeps may lie."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
