"""Where uploads and files to take home lie on the server: in a folder of this process alone, an hour at the most.

Gradio writes below one folder for all its programs, forgets what was only half uploaded, and leaves everything behind
when it is not ended from the keyboard.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from liveedit.types import RepositoryError

VARIABLE = "GRADIO_TEMP_DIR"
PREFIX = "liveedit-workbench-"


@contextlib.contextmanager
def own_folder(age: float) -> Iterator[Path]:
    """A folder, in the one that GRADIO_TEMP_DIR names or that of the system, which Gradio uses until it is removed.

    Folders beside it that no process has swept for ``age`` seconds belong to none any more, and are removed too. In
    the main thread, SIGTERM ends the program as the keyboard does, so that it comes to the removal.
    """
    given = os.environ.get(VARIABLE)
    parent = Path(given or tempfile.gettempdir()).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    for other in parent.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            if not other.is_symlink() and time.time() - other.stat().st_mtime > age:
                shutil.rmtree(other, ignore_errors=True)
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if here else None
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        os.environ[VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            if given is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = given
            if here:
                signal.signal(signal.SIGTERM, before)


def sweep(folder: Path, age: float, kept: Collection[str] = ()) -> None:
    """Remove all files below a folder that are older than ``age`` seconds, but those ``kept``, and folders left empty."""
    now = time.time()
    # What lies deeper comes first.
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if now - max(status.st_mtime, status.st_ctime) <= age or str(path) in kept:
                continue
            if stat.S_ISDIR(status.st_mode):
                path.rmdir()
            else:
                path.unlink()
    # That this process lives.
    os.utime(folder)


def files_below(folder: Path, paths: Iterable[str]) -> set[str]:
    """Those of some paths, which anybody may have sent, that are files below a folder, each in its one form."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            real = Path(path).resolve()
            if real.is_relative_to(folder.resolve()) and real.is_file():
                found.add(str(real))
    return found


def discarded(path: Path, age: float) -> bool:
    """Remove a file unless it has changed in the last ``age`` seconds; whether it is gone."""
    try:
        status = path.lstat()
        if time.time() - max(status.st_mtime, status.st_ctime) <= age:
            return False
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


@contextlib.contextmanager
def named_only(path: Path) -> Iterator[None]:
    """Let what is said about a file of edits tell its name, and not where it lies on the server."""
    try:
        yield
    except RepositoryError as error:
        raise RepositoryError(str(error).replace(str(path), path.name)) from error
