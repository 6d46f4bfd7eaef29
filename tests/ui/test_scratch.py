"""The folder on the server's disk: its own for each process, swept by age, gone in the end whichever way it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liveedit.types import RepositoryError
from liveedit.ui.scratch import PREFIX, VARIABLE, discarded, files_below, named_only, own_folder, sweep

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
import sys, time
from liveedit.ui.scratch import own_folder
with own_folder(3600) as folder:
    (folder / "upload").write_text("a picture")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_uploads_go_to_a_folder_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    with own_folder(3600) as folder, own_folder(3600) as other:
        assert folder.parent == tmp_path and other.is_relative_to(folder)
        assert os.environ[VARIABLE] == str(other)
        assert folder.stat().st_mode & 0o077 == 0, "others on the machine see nothing of it"
        (folder / "a").mkdir()
        (folder / "a" / "b.png").write_text("x")
    assert not folder.exists()
    assert os.environ[VARIABLE] == str(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.delenv(VARIABLE)
    with own_folder(3600):
        assert VARIABLE in os.environ
    assert VARIABLE not in os.environ


def test_what_a_crash_left_behind_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    crashed, living, foreign = tmp_path / f"{PREFIX}a", tmp_path / f"{PREFIX}b", tmp_path / "somebody's"
    for folder in (crashed, living, foreign):
        folder.mkdir()
        (folder / "upload").write_text("x")
    for folder in (crashed, foreign):
        os.utime(folder, (0, 0))
    with own_folder(3600):
        assert not crashed.exists() and living.exists() and foreign.exists()


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGTERM elsewhere")
def test_a_program_that_is_ended_takes_its_folder_along(tmp_path: Path) -> None:
    env = {**os.environ, VARIABLE: str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", WAITING], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert (folder / "upload").exists()
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    process.stdout.close()
    assert not folder.exists()


def test_sweeping_removes_what_is_old_and_not_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hash/old.png", "used/old.png", "tmpabc", "empty/"):
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(exist_ok=True)
        if not name.endswith("/"):
            path.write_text("x")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    sweep(tmp_path, 200)
    assert len(list(tmp_path.rglob("*"))) == 6, "nothing is old"
    sweep(tmp_path, 50, {str(tmp_path / "used" / "old.png")})
    monkeypatch.setattr(time, "time", lambda: now + 500)
    sweep(tmp_path, 50, {str(tmp_path / "used" / "old.png")})
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["used", "used/old.png"]


def test_only_files_below_the_folder_count_as_its_own(tmp_path: Path) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    (folder / "a").mkdir(parents=True)
    secret.write_text("x")
    (folder / "a" / "b.png").write_text("x")
    (folder / "link").symlink_to(secret)
    given = ["a/b.png", "a/../a/b.png", "a", "none.png", "../secret", "link", "\0", "x" * 5000]
    found = files_below(folder, [str(secret), *(f"{folder}/{path}" for path in given)])
    assert found == {str((folder / "a" / "b.png").resolve())}


def test_files_that_have_just_come_are_not_discarded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("x")
    assert not discarded(path, 60) and path.exists()
    assert discarded(path, -1) and not path.exists()
    assert discarded(path, 60), "what is gone is gone"
    assert not discarded(tmp_path, -1)


def test_a_sentence_names_the_file_and_not_its_place() -> None:
    with pytest.raises(RepositoryError, match=r"^e\.safetensors is damaged$"), named_only(Path("/tmp/x/e.safetensors")):
        raise RepositoryError("/tmp/x/e.safetensors is damaged")
