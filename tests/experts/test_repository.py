"""The expert repository: exact removal and switching, and files that are whole, fitting, or refused."""

from __future__ import annotations

import errno
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from liveedit.config import EditorConfig
from liveedit.experts import ExpertRepository, Limits
from liveedit.experts import repository as module
from liveedit.types import Edit, RepositoryError

CONFIG = EditorConfig(hidden_size=12, layer=1, module_dim=8, rank=3, queries=2, heads=2, backbone="llava-abc")
NAMES = ("U", "V", "phi", "psi")


def tensors(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {"U": (3, 12), "V": (3, 12), "phi": (2, 8), "psi": (2, 8)}
    return {name: torch.randn(count, *shape, generator=random) for name, shape in shapes.items()}


def edits(count: int) -> list[Edit]:
    return [
        Edit(Image.new("RGB", (40, 30 + i), (i * 20, 10, 99)), f"prompt {i} é", f"answer {i}") for i in range(count)
    ]


@pytest.fixture
def repository() -> ExpertRepository:
    made = ExpertRepository.empty(CONFIG)
    ids = made.add(edits(4), **tensors(4))
    made.set_active(ids[1], False)
    made.set_scale(ids[2], 0.5)
    return made


def same(left: ExpertRepository, right: ExpertRepository) -> bool:
    """Whether two repositories hold the same experts to the bit."""
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        if (a.id, a.active, a.scale, a.edit.prompt, a.edit.target) != (
            b.id,
            b.active,
            b.scale,
            b.edit.prompt,
            b.edit.target,
        ):
            return False
        if a.edit.image.tobytes() != b.edit.image.tobytes():
            return False
        if not all(torch.equal(getattr(a, n), getattr(b, n)) for n in NAMES):
            return False
    return True


def test_saving_and_loading_changes_nothing(repository: ExpertRepository, tmp_path: Path) -> None:
    path = tmp_path / "edits.safetensors"
    repository.save(path)
    again = ExpertRepository.load(path, CONFIG)
    assert same(repository, again)
    repository.remove(repository.experts[0].id)
    assert not same(repository, again)
    assert list(tmp_path.iterdir()) == [path], "no half-written file may lie about"


def test_an_empty_repository_can_be_saved(tmp_path: Path) -> None:
    ExpertRepository.empty(CONFIG).save(tmp_path / "e.safetensors")
    assert len(ExpertRepository.load(tmp_path / "e.safetensors", CONFIG)) == 0


def test_large_pictures_are_stored_small(tmp_path: Path) -> None:
    made = ExpertRepository.empty(CONFIG)
    made.add([Edit(Image.new("RGB", (2000, 1000)), "p", "a")], **tensors(1))
    made.save(tmp_path / "e.safetensors")
    assert ExpertRepository.load(tmp_path / "e.safetensors", CONFIG).experts[0].edit.image.size == (512, 256)
    assert made.experts[0].edit.image.size == (2000, 1000)


def test_removal_leaves_the_others_untouched(repository: ExpertRepository) -> None:
    kept = [expert for i, expert in enumerate(repository) if i != 1]
    before = {expert.id: [getattr(expert, n).clone() for n in NAMES] for expert in kept}
    repository.stacked("U")
    repository.remove(repository.experts[1].id)
    assert [e.id for e in repository] == [e.id for e in kept]
    for number, expert in enumerate(repository):
        assert all(torch.equal(a, getattr(expert, n)) for a, n in zip(before[expert.id], NAMES, strict=True))
        assert torch.equal(repository.stacked("U")[number], expert.U)


def test_switching_is_exact_and_reversible(repository: ExpertRepository) -> None:
    first = repository.experts[0].id
    assert repository.active_mask().tolist() == [True, False, True, True]
    repository.set_active(first, False)
    assert repository.active_mask().tolist() == [False, False, True, True]
    repository.set_active(first, True)
    assert repository.active_mask().tolist() == [True, False, True, True]
    assert repository.scales().tolist() == [1.0, 1.0, 0.5, 1.0]
    for expert in repository:
        repository.set_active(expert.id, False)
    assert not repository.any_active


def test_a_copy_is_changed_alone(repository: ExpertRepository) -> None:
    first, second = repository.experts[:2]
    kept = repository.stacked("U"), repository.active_mask(), repository.scales()
    other = repository.copy()
    other.set_active(first.id, False)
    other.set_scale(first.id, 0.25)
    other.remove(second.id)
    assert other.active_mask().tolist() == [False, True, True]
    assert other.scales().tolist() == [0.25, 0.5, 1.0]
    assert (first.active, first.scale) == (True, 1.0)
    now = repository.stacked("U"), repository.active_mask(), repository.scales()
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert repository.active_mask().tolist() == [True, False, True, True]


def test_added_tensors_are_copies(repository: ExpertRepository) -> None:
    given = tensors(1, seed=5)
    (new,) = repository.add(edits(1), **given)
    kept = given["U"].clone()
    given["U"].zero_()
    assert torch.equal(repository.get(new).U, kept[0])


def test_extend_takes_over_what_is_new(repository: ExpertRepository) -> None:
    other = ExpertRepository.empty(CONFIG)
    first = other.extend(repository)
    more = repository.add(edits(2), **tensors(2, seed=7))
    assert first == [expert.id for expert in repository][:4]
    assert other.extend(repository) == more
    assert same(repository, other)


def test_unknown_ids_are_refused(repository: ExpertRepository) -> None:
    for call in (repository.get, repository.remove, lambda i: repository.set_active(i, True)):
        with pytest.raises(RepositoryError, match="there is no edit 'nope'"):
            call("nope")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_and_numbers_are_refused_before_anything_is_added(name: str, repository: ExpertRepository) -> None:
    wrong = tensors(1)
    wrong[name] = torch.zeros(1, 5, 5)
    with pytest.raises(RepositoryError, match=f"{name} has shape"):
        repository.add(edits(1), **wrong)
    bad = tensors(2)
    bad[name][1, 0, 0] = float("nan")
    with pytest.raises(RepositoryError, match="not finite"):
        repository.add(edits(2), **bad)
    assert len(repository) == 4


@pytest.mark.parametrize(
    "change", [{"backbone": "llava-xyz"}, {"layer": 2}, {"rank": 4}, {"module_dim": 16}, {"queries": 3}]
)
def test_edits_of_another_editor_are_refused(
    change: dict[str, Any], repository: ExpertRepository, tmp_path: Path
) -> None:
    repository.save(tmp_path / "e.safetensors")
    with pytest.raises(RepositoryError, match="another"):
        ExpertRepository.load(tmp_path / "e.safetensors", replace(CONFIG, **change))


def test_edits_of_another_training_of_the_same_editor_are_refused(
    repository: ExpertRepository, tmp_path: Path
) -> None:
    path = tmp_path / "e.safetensors"
    repository.made_by = "first"
    repository.copy().save(path)
    assert len(ExpertRepository.load(path, CONFIG, "first")) == len(repository)
    assert len(ExpertRepository.load(path, CONFIG)) == len(repository), "weights that are not known refuse nothing"
    with pytest.raises(RepositoryError, match="another training"):
        ExpertRepository.load(path, CONFIG, "second")


def rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str], list[dict[str, Any]]], None]
) -> None:
    """Change the tensors, the metadata and the rows of a file of edits."""
    with safe_open(path, framework="pt") as handle:
        metadata = dict(handle.metadata())
        held = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no iterator)
    rows = json.loads(metadata["experts"])
    change(held, metadata, rows)
    if "experts" in metadata and metadata["experts"] != "{":
        metadata["experts"] = json.dumps(rows)
    save_file(held, path, metadata)


DAMAGE: dict[str, Callable[[dict[str, Any], dict[str, Any], list[dict[str, Any]]], Any]] = {
    "no format": lambda t, m, r: m.pop("format"),
    "other format": lambda t, m, r: m.update(format="something-else"),
    "rows are no JSON": lambda t, m, r: m.update(experts="{"),
    "a row without id": lambda t, m, r: r[0].pop("id"),
    "a picture's length is wrong": lambda t, m, r: m.update(pictures="[3, 3, 3, 3]"),
    "a picture's length is no number": lambda t, m, r: m.update(pictures='["many"]'),
    "the pictures' lengths are no list": lambda t, m, r: m.update(pictures="7"),
    "the pictures' lengths are no JSON": lambda t, m, r: m.update(pictures="["),
    "a million pictures": lambda t, m, r: m.update(pictures=str([0] * 1_000_000)),
    "a picture that is not there": lambda t, m, r: r[0].update(picture=4),
    "a picture without a number": lambda t, m, r: r[0].update(picture=True),
    "pictures are missing": lambda t, m, r: t.pop("pictures"),
    "a picture is noise": lambda t, m, r: t.update(pictures=t["pictures"].flip(0)),
    "a tensor is missing": lambda t, m, r: t.pop("V"),
    "fewer tensors than rows": lambda t, m, r: t.update(U=t["U"][:2].clone()),
    "a wrong shape": lambda t, m, r: t.update(phi=t["phi"][:, :1].clone()),
    "not a number": lambda t, m, r: t["psi"].fill_(float("nan")),
    "infinite": lambda t, m, r: t["U"].fill_(float("inf")),
    "scale is no number": lambda t, m, r: r[0].update(scale="big"),
    "scale is not finite": lambda t, m, r: r[0].update(scale=float("nan")),
    "scale is beyond measure": lambda t, m, r: r[0].update(scale=10**400),
    "neither on nor off": lambda t, m, r: r[0].update(active="no"),
    "an unknown tensor": lambda t, m, r: t.update(weights=torch.zeros(9)),
    "whole numbers": lambda t, m, r: t.update(psi=t["psi"].long()),
    "pictures are no bytes": lambda t, m, r: t.update(pictures=t["pictures"].float()),
    "one row less": lambda t, m, r: r.pop(),
    "a million rows": lambda t, m, r: r.extend([{}] * 1_000_000),
    "rows within rows": lambda t, m, r: r.append([[[[[]]]]]),
    "an unknown part of a row": lambda t, m, r: r[0].update(path="/etc/passwd"),
    "an id in markup": lambda t, m, r: r[0].update(id="<b onclick=x>"),
    "two equal ids": lambda t, m, r: r[0].update(id=r[1]["id"]),
    "a prompt of 100,000 characters": lambda t, m, r: r[0].update(prompt="a" * 100_000),
    "an answer that is no text": lambda t, m, r: r[0].update(target=["a"]),
    "an empty answer": lambda t, m, r: r[0].update(target=" "),
    "half a character": lambda t, m, r: r[0].update(prompt="\ud83d"),
    "a picture's length is negative": lambda t, m, r: m.update(pictures=str([-1, *json.loads(m["pictures"])[1:]])),
    "a picture of 150 megapixels": lambda t, m, r: with_picture(t, m, claiming(15_000, 10_000)),
    "a picture of 4 megapixels": lambda t, m, r: with_picture(t, m, claiming(2000, 2000)),
    "a picture that is no PNG": lambda t, m, r: with_picture(t, m, b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
}


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def with_picture(held: dict[str, torch.Tensor], metadata: dict[str, str], picture: bytes) -> None:
    """Put a picture in the place of the first one."""
    first, *others = json.loads(metadata["pictures"])
    held["pictures"] = torch.tensor(list(picture + bytes(held["pictures"].numpy())[first:]), dtype=torch.uint8)
    metadata["pictures"] = json.dumps([len(picture), *others])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_refused_with_a_sentence(kind: str, repository: ExpertRepository, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    repository.save(path)
    rewrite(path, DAMAGE[kind])
    with pytest.raises(RepositoryError) as caught:
        ExpertRepository.load(path, CONFIG)
    assert "\n" not in str(caught.value)


def test_what_a_file_claims_is_refused_before_it_is_believed(repository: ExpertRepository, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"

    def claim(length: int, header: bytes) -> None:
        path.write_bytes(struct.pack("<Q", length) + header)
        with pytest.raises(RepositoryError) as caught:
            ExpertRepository.load(path, CONFIG)
        assert "\n" not in str(caught.value)

    claim(2**40, b"{}")
    claim(2**62, b"{}")
    metadata = {"format": "liveedit-repository-1", "backbone": CONFIG.backbone, "layer": "1", "experts": "[]"}
    million = {"dtype": "F32", "shape": [1_000_000, 3, 12], "data_offsets": [0, 144_000_000]}
    for header in ({"__metadata__": metadata, "U": million}, {"__metadata__": [metadata]}, {"__metadata__": {"a": 1}}):
        text = json.dumps(header).encode()
        claim(len(text), text)
    repository.save(path)
    with safe_open(path, framework="pt") as handle:
        held = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no iterator)
        sound = handle.metadata()
    save_file(held, path, {**sound, "experts": "[" * 20_000})
    with pytest.raises(RepositoryError, match="no JSON"):
        ExpertRepository.load(path, CONFIG)


class Planted:
    """What a pickle can do when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


def test_a_pickle_is_never_opened(repository: ExpertRepository, tmp_path: Path) -> None:
    path, trace = tmp_path / "e.safetensors", tmp_path / "executed"
    payload = pickle.dumps(Planted(trace))
    path.write_bytes(payload)
    with pytest.raises(RepositoryError):
        ExpertRepository.load(path, CONFIG)
    torch.save(Planted(trace), path)
    with pytest.raises(RepositoryError):
        ExpertRepository.load(path, CONFIG)
    repository.save(path)
    rewrite(path, lambda held, metadata, rows: with_picture(held, metadata, payload))
    with pytest.raises(RepositoryError):
        ExpertRepository.load(path, CONFIG)
    assert not trace.exists()
    pickle.loads(payload)
    assert trace.exists(), "the pickle would have done it"


def test_pictures_that_would_fill_the_memory_are_kept_smaller(repository: ExpertRepository, tmp_path: Path) -> None:
    repository.save(tmp_path / "e.safetensors")
    # Together 40 x (30 + 31 + 32 + 33) = 5,040 pixels.
    again = ExpertRepository.load(tmp_path / "e.safetensors", CONFIG, limits=Limits(pixels=5040))
    assert same(repository, again)
    small = ExpertRepository.load(tmp_path / "e.safetensors", CONFIG, limits=Limits(pixels=20))
    assert sum(e.edit.image.width * e.edit.image.height for e in small) <= 20
    assert all(torch.equal(a.U, b.U) for a, b in zip(repository, small, strict=True))


def test_more_tensors_than_there_is_room_for_are_refused(repository: ExpertRepository, tmp_path: Path) -> None:
    repository.save(tmp_path / "e.safetensors")
    held = repository.nbytes()
    assert same(repository, ExpertRepository.load(tmp_path / "e.safetensors", CONFIG, limits=Limits(tensors=held)))
    with pytest.raises(RepositoryError, match="keep fewer edits in one file"):
        ExpertRepository.load(tmp_path / "e.safetensors", CONFIG, limits=Limits(tensors=held - 1))


def test_equal_pictures_are_stored_once_and_shared(tmp_path: Path) -> None:
    noise = Image.effect_noise((200, 200), 60).convert("RGB")
    other = Image.new("RGB", (20, 20), "red")
    made = ExpertRepository.empty(CONFIG)
    made.add([Edit(i, f"prompt {n}", "a") for n, i in enumerate((noise, other, noise, noise.copy()))], **tensors(4))
    path = tmp_path / "e.safetensors"
    made.save(path)
    again = ExpertRepository.load(path, CONFIG)
    assert same(made, again)
    images = [e.edit.image for e in again]
    assert images[0] is images[2] is images[3] and images[1] is not images[0]
    with safe_open(path, framework="pt") as handle:
        assert len(json.loads(handle.metadata()["pictures"])) == 2


def former(path: Path) -> None:
    """Turn a file of edits with a picture for each into what such files were before."""

    def change(held: dict[str, torch.Tensor], metadata: dict[str, str], rows: list[dict[str, Any]]) -> None:
        metadata["format"] = "liveedit-repository-1"
        for row, size in zip(rows, json.loads(metadata.pop("pictures")), strict=True):
            del row["picture"]
            row["picture_bytes"] = size

    rewrite(path, change)


def test_files_saved_before_pictures_were_shared_are_read(repository: ExpertRepository, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    repository.save(path)
    former(path)
    assert same(repository, ExpertRepository.load(path, CONFIG))
    whole = path.read_bytes()
    for wrong in (3, -1, "many", None):
        path.write_bytes(whole)
        rewrite(path, lambda held, metadata, rows, wrong=wrong: rows[0].update(picture_bytes=wrong))  # type: ignore[misc]
        with pytest.raises(RepositoryError, match="damaged"):
            ExpertRepository.load(path, CONFIG)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 64, b"\xff" * 4096])
def test_files_that_are_no_edits_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "e.safetensors").write_bytes(content)
    with pytest.raises(RepositoryError, match="not a readable file of edits"):
        ExpertRepository.load(tmp_path / "e.safetensors", CONFIG)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(share: float, repository: ExpertRepository, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    repository.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(RepositoryError):
        ExpertRepository.load(path, CONFIG)


def test_missing_files_and_folders_are_refused(repository: ExpertRepository, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(RepositoryError):
            ExpertRepository.load(path, CONFIG)
    with pytest.raises(RepositoryError, match="could not be saved"):
        repository.save(tmp_path / "no" / "folder" / "e.safetensors")


def test_a_full_disk_leaves_the_old_file_and_the_edits(
    repository: ExpertRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.safetensors"
    repository.save(path)
    whole = path.read_bytes()
    repository.add(edits(1), **tensors(1, seed=3))

    def full(_tensors: object, target: Path, _metadata: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(RepositoryError, match="free some space"):
        repository.save(path)
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]
    assert len(repository) == 5


def test_pictures_can_be_forgotten(repository: ExpertRepository) -> None:
    before = [(e.id, e.edit.prompt, e.edit.target, e.U) for e in repository]
    repository.forget_pictures()
    assert [(e.id, e.edit.prompt, e.edit.target, e.U) for e in repository] == before
    assert {e.edit.image.size for e in repository} == {(1, 1)}
