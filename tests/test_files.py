"""Files that are written whole or not at all."""

from __future__ import annotations

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
