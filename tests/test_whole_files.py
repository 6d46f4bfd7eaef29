"""Files that are written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from liveedit.files import whole


def test_the_new_file_takes_the_old_ones_place_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(error), whole(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_processes_that_write_one_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    other = "import pathlib, sys, liveedit.files as f\nwith f.whole(pathlib.Path(sys.argv[1])) as p: p.write_text('theirs')"
    with whole(path) as part:
        part.write_text("ours")
        subprocess.run([sys.executable, "-c", other, str(path)], check=True)
        assert path.read_text() == "theirs"
    assert path.read_text() == "ours"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
