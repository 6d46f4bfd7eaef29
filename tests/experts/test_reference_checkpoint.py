"""Reading the authors' checkpoint: sizes from shapes, and every kind of wrong file refused with a sentence."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from liveedit.experts import reference_checkpoint
from liveedit.experts.reference_checkpoint import read_reference
from liveedit.types import ConfigError, EditorError

Make = Callable[..., dict[str, Any]]
SIZES = {"d": 24, "d_m": 16, "r": 3, "k": 2, "n_v": 5}


def refusal(content: Any, folder: Path) -> str:
    """The sentence with which a file of this content is refused."""
    path = folder / "checkpoint"
    torch.save(content, path)
    with pytest.raises(EditorError) as caught:
        read_reference(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def refusal_of(content: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sentence with which this content is refused once it is unpickled; no file is written."""
    monkeypatch.setattr(reference_checkpoint, "_load", lambda _: content)
    with pytest.raises(EditorError) as caught:
        read_reference("checkpoint")
    return str(caught.value)


def copy_of(content: dict[str, Any]) -> dict[str, Any]:
    """The same tensors in dicts of their own."""
    return {**content, "train_modules": {part: dict(values) for part, values in content["train_modules"].items()}}


@pytest.mark.parametrize("sizes", [SIZES, {"d": 64, "d_m": 8, "r": 1, "k": 5, "n_v": 1}])
@pytest.mark.parametrize("legacy", [False, True])
def test_sizes_come_from_the_shapes_and_options_are_kept(
    sizes: dict[str, int], legacy: bool, released_checkpoint: Make, tmp_path: Path
) -> None:
    content = released_checkpoint(**sizes)
    torch.save(content, tmp_path / "c", _use_new_zipfile_serialization=not legacy)
    config = read_reference(tmp_path / "c", heads=4, lora_scale=2.5, layer=7, backbone="llava-1").config
    assert (config.hidden_size, config.module_dim, config.rank) == (sizes["d"], sizes["d_m"], sizes["r"])
    assert (config.queries, config.sentinel_tokens) == (sizes["k"], sizes["n_v"])
    assert (config.heads, config.lora_scale, config.layer, config.backbone) == (4, 2.5, 7, "llava-1")
    assert (config.generator_signal, config.visual_feature) == ("states", "plain")


def test_the_options_default_to_the_released_values(released_checkpoint: Make, tmp_path: Path) -> None:
    torch.save(released_checkpoint(**SIZES), tmp_path / "c")
    config = read_reference(tmp_path / "c").config
    assert (config.heads, config.lora_scale, config.layer, config.backbone) == (8, 5.0, 21, "")


def test_other_precisions_shared_tensors_and_missing_bookkeeping_are_taken(
    released_checkpoint: Make, tmp_path: Path
) -> None:
    content = released_checkpoint(**SIZES)
    parts = content["train_modules"]
    parts["moegen_c"]["phi"] = parts["moegen_c"]["phi"].bfloat16()
    parts["edit_extractor"]["layer_norm2.weight"] = parts["edit_extractor"]["layer_norm1.weight"]
    parts["edit_extractor"]["layer_norm2.bias"] = torch.zeros(1).expand(SIZES["d"])
    torch.save({"train_modules": parts}, tmp_path / "c")
    weights = read_reference(tmp_path / "c").state_dict()
    assert {t.dtype for t in weights.values()} == {torch.float32}
    assert torch.equal(weights["generator.u.queries"], parts["moegen_c"]["phi"].float())
    places = [t.untyped_storage().data_ptr() for t in weights.values()]
    assert len(set(places)) == len(places)
    assert all(t.is_contiguous() for t in weights.values())


def test_every_missing_key_is_named(released_checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = released_checkpoint(**SIZES)
    for part, values in whole["train_modules"].items():
        for name in values:
            content = copy_of(whole)
            del content["train_modules"][part][name]
            assert f"the key {part}.{name} is missing:" in refusal_of(content, monkeypatch)
        content = copy_of(whole)
        del content["train_modules"][part]
        assert f"the key {part} is missing:" in refusal_of(content, monkeypatch)
    assert "the key train_modules is missing:" in refusal_of({"i": 1}, monkeypatch)


def test_every_size_that_contradicts_the_others_is_named(
    released_checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {("inpt_extractor", "vis_rep_prot", 1)}  # nothing else depends on the number of sentinel tokens
    whole = released_checkpoint(**SIZES)
    for part, values in whole["train_modules"].items():
        for name, value in values.items():
            for dim in range(value.dim()):
                if (part, name, dim) in free:
                    continue
                content = copy_of(whole)
                content["train_modules"][part][name] = torch.cat([value, value], dim)
                assert f"{part}.{name}" in refusal_of(content, monkeypatch), (part, name, dim)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), "key colour is unknown"),
        (lambda c: c["train_modules"].update(moegen_x={}), "key moegen_x is unknown"),
        (lambda c: c["train_modules"]["moegen_c"].update({"ca_lora.out.weight": torch.ones(2)}),
         "moegen_c.ca_lora.out.weight is unknown"),
        (lambda c: c["train_modules"]["edit_extractor"].update(vis_rep_prot=torch.ones(1, 5, 24)),
         "edit_extractor.vis_rep_prot is unknown"),
        (lambda c: c["train_modules"].update({3: {}}), "key 3 is unknown"),
        (lambda c: c.update(train_modules=[1]), "train_modules is of type list"),
        (lambda c: c["train_modules"].update(moegen_r=None), "moegen_r is of type NoneType"),
        (lambda c: c["train_modules"]["moegen_r"].update(phi="x"), "moegen_r.phi is not a tensor of real numbers"),
        (lambda c: c["train_modules"]["moegen_r"].update(phi=torch.ones(1, 3, 16).long()), "phi is not a tensor of"),
        (lambda c: c["train_modules"]["moegen_r"].update(phi=torch.ones(1, 3, 16).to_sparse()), "phi is not a tensor"),
        (lambda c: c["train_modules"]["moegen_r"].update(phi=torch.ones(1, 0, 16)), "moegen_r.phi is empty"),
        (lambda c: c["train_modules"]["moegen_r"]["phi"].fill_(float("nan")), "moegen_r.phi holds numbers that"),
        (lambda c: c["train_modules"]["edit_extractor"].update(eqe1=torch.ones(2, 16)),
         "edit_extractor.eqe1 has shape [2, 16] where [1, k, d_m] is expected"),
        (lambda c: c["train_modules"]["moegen_r"].update(phi=torch.ones(1, 4, 16)),
         "moegen_r.phi has shape [1, 4, 16], but moegen_c.phi says r = 3"),
    ],
)  # fmt: skip
def test_what_does_not_belong_is_named(
    change: Callable[[dict[str, Any]], Any], words: str, released_checkpoint: Make, tmp_path: Path
) -> None:
    content = released_checkpoint(**SIZES)
    change(content)
    assert words in refusal(content, tmp_path)


@pytest.mark.parametrize("content", [3, [1, 2], None, torch.ones(3)])
def test_content_that_is_no_dict_is_refused(content: object, tmp_path: Path) -> None:
    assert "its content is of type" in refusal(content, tmp_path)


class Evil:
    """What runs a command when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["", "opt"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    where: str, released_checkpoint: Make, tmp_path: Path
) -> None:
    evil = Evil(tmp_path / "owned")
    sentence = refusal({**released_checkpoint(**SIZES), where: evil} if where else evil, tmp_path)
    assert "cannot be unpickled safely" in sentence
    assert "mkdir" in sentence
    assert not (tmp_path / "owned").exists()


def test_damaged_files_are_refused(released_checkpoint: Make, tmp_path: Path) -> None:
    path = tmp_path / "c"
    torch.save(released_checkpoint(**SIZES), path)
    whole = path.read_bytes()
    damaged = [b"", b"hello there", b"\x00" * 99, b"\xff" * 999, whole[:50], whole[: len(whole) // 2], whole[:-9]]
    damaged.append(pickle.dumps({"train_modules": {}}, protocol=2))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(EditorError) as caught:
            read_reference(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(EditorError, match="cannot be read"):
            read_reference(missing)


def test_impossible_options_are_refused(released_checkpoint: Make, tmp_path: Path) -> None:
    torch.save(released_checkpoint(**SIZES), tmp_path / "c")
    for options, words in (({"heads": 5}, "heads is 5"), ({"lora_scale": 0.0}, "lora_scale"), ({"layer": -1}, "layer")):
        with pytest.raises(ConfigError, match=words):
            read_reference(tmp_path / "c", **options)  # type: ignore[arg-type]
