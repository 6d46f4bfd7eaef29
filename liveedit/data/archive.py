"""ZIP archives from outside, read under limits: no name leaves the archive, and what is unpacked lies where its reader says."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType

from liveedit.types import InputError

MAX_ENTRIES = 2_000
MAX_ENTRY = 64 * 2**20  # bytes of one file, unpacked in memory
MAX_TOTAL = 256 * 2**20  # bytes of all files read, unpacked
# Of its list of files, of which each takes ten times its bytes in memory before one is counted.
MAX_LIST = 2 * 2**20
_PIECE = 2**20
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_TAIL = 2**16 + 64  # bytes at an archive's end, among which its end record lies


class Archive:
    """An open archive; use it in a ``with``. What an entry claims about its size is not believed."""

    def __init__(self, path: str | Path) -> None:
        try:
            _check_list(path)
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise InputError(f"the archive cannot be read ({error.strerror}): choose it again") from error
        except (ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise InputError(f"the archive is damaged or no ZIP file ({error}): pack it again") from error
        entries = [e for e in self._zip.infolist() if not e.is_dir()]
        if len(entries) > MAX_ENTRIES:
            self._zip.close()
            raise InputError(f"the archive has {len(entries)} files, the limit is {MAX_ENTRIES}: split it")
        self._entries = {e.filename: e for e in entries if _inside(e.filename)}
        self._left = MAX_TOTAL

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """The names of the files in it, in its order; names that lead out of the archive are left out."""
        return list(self._entries)

    def read(self, name: str, most: int = MAX_ENTRY) -> bytes:
        """The content of one file, which may have ``most`` bytes."""
        return b"".join(self._parts(name, min(most, MAX_ENTRY)))

    def extract(self, name: str, path: Path, most: int) -> None:
        """Write the content of one file, which may have ``most`` bytes, to ``path``; it is never in memory as a whole."""
        try:
            with path.open("wb") as target:
                for part in self._parts(name, most):
                    target.write(part)
        except OSError as error:
            raise InputError("the archive cannot be unpacked on the server: try again later") from error

    def _parts(self, name: str, most: int) -> Iterator[bytes]:
        """The content of one file piece by piece; raises :class:`InputError` when it goes beyond what is allowed."""
        if name not in self._entries:
            raise InputError(f"there is no file {name} in the archive: check the name")
        limit, size = min(most, self._left), 0
        try:
            with self._zip.open(self._entries[name]) as file:
                while part := file.read(_PIECE):
                    size += len(part)
                    if size > limit:
                        raise InputError(
                            f"the archive unpacks to too much at {name}: "
                            f"it may have {most >> 20} MB, all files together {MAX_TOTAL >> 20} MB"
                        )
                    yield part
        except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"the file {name} in the archive cannot be read ({error}): pack it again") from error
        self._left -= size


def _check_list(path: str | Path) -> None:
    """Refuse an archive by what its end says of its list of files, before the list is read."""
    with open(path, "rb") as file:
        file.seek(max(file.seek(0, 2) - _TAIL, 0))
        tail = file.read()
    # The size in the record of archives beyond 4 GB would be another one.
    sizes = [int.from_bytes(tail[found.start() + 12 :][:4], "little") for found in re.finditer(_END, tail)]
    if _END_64 in tail or max(sizes, default=0) > MAX_LIST:
        raise InputError(f"the archive lists more than {MAX_ENTRIES} files, or claims to be of more than 4 GB: split it")


def _inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]
