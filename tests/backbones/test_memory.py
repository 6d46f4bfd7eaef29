"""A backbone in little memory: other precisions, spread over places, and what is refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from liveedit.backbones import Backbone, load_backbone
from liveedit.backbones.checkpoint import read_config, stored_fingerprint
from liveedit.backbones.memory import pick_dtype, placement
from liveedit.config import BackbonePlacement
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import BackboneError, Edit, EditorError, Query

QUESTION = "What is in the picture?"
OFFLOADED = {
    "model.vision_tower": "disk",
    "model.multi_modal_projector": "cpu",
    "model.language_model.embed_tokens": "cpu",
    "model.language_model.rotary_emb": "cpu",
    "model.language_model.layers.0": "cpu",
    "model.language_model.layers.1": "disk",
    "model.language_model.layers.2": "disk",
    "model.language_model.norm": "cpu",
    "lm_head": "cpu",
}


@pytest.fixture(scope="module")
def narrow(lively_backbone_folder: Path) -> Backbone:
    return load_backbone(lively_backbone_folder, "cpu", "bfloat16")


def test_precision_changes_the_weights_but_not_the_fingerprint(narrow: Backbone, lively_backbone: Backbone) -> None:
    wide, small = (b.model.state_dict()["lm_head.weight"] for b in (lively_backbone, narrow))
    assert small.dtype == torch.bfloat16
    assert not torch.equal(wide, small.float())
    assert narrow.fingerprint == lively_backbone.fingerprint


def test_the_files_tell_the_fingerprint_in_the_precision_they_are_stored_in(narrow: Backbone, tmp_path: Path) -> None:
    """Of weights stored in bfloat16 it is another one, the same however they are loaded."""
    narrow.model.save_pretrained(tmp_path)
    narrow.processor.save_pretrained(tmp_path)
    found = stored_fingerprint(tmp_path, read_config(tmp_path))
    assert found != narrow.fingerprint
    assert [load_backbone(tmp_path, "cpu", kind).fingerprint for kind in ("float32", "bfloat16")] == [found] * 2


def test_files_that_do_not_tell_the_fingerprint_give_none(lively_backbone_folder: Path, tmp_path: Path) -> None:
    config, weights = read_config(lively_backbone_folder), tmp_path / "model.safetensors"
    assert stored_fingerprint(tmp_path, config) is None
    whole = (lively_backbone_folder / weights.name).read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert stored_fingerprint(tmp_path, config) is None
    tensors = load_file(lively_backbone_folder / weights.name)
    save_file({name: tensor for name, tensor in tensors.items() if "norm" not in name}, weights)
    assert stored_fingerprint(tmp_path, config) is None
    weights.write_bytes(whole)
    assert stored_fingerprint(tmp_path, config) is not None
    config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    assert stored_fingerprint(tmp_path, config) is None


def test_an_editor_in_float32_edits_a_backbone_in_bfloat16(
    narrow: Backbone, open_editor: LiveEdit, some_edits: list[Edit], pictures: list[Image], tmp_path: Path
) -> None:
    open_editor.save_pretrained(tmp_path)
    editor = LiveEdit.from_pretrained(tmp_path, narrow)
    assert {p.dtype for p in editor.modules.parameters()} == {torch.float32}
    repository = ExpertRepository.empty(editor.config)
    editor.edit(repository, some_edits[:2])
    assert repository.experts[0].U.dtype == torch.float32
    states = editor.layer_states([pictures[0]], [QUESTION])[0]
    assert states.vision.dtype == states.prompt.dtype == torch.float32
    query = Query(pictures[0], QUESTION)
    edited, base = editor.answer(repository, query, max_new_tokens=6), editor.answer(None, query, max_new_tokens=6)
    assert edited.trace.passed
    assert edited.tokens != base.tokens
    wanted = open_editor.route(repository, [query])[0].experts[0].visual_similarity
    assert edited.trace.experts[0].visual_similarity == pytest.approx(wanted, rel=0.05)


def test_a_backbone_spread_over_memory_and_disk_answers_the_same(
    lively_backbone_folder: Path, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    spread = load_backbone(lively_backbone_folder, device_map=OFFLOADED)
    assert next(spread.layers[1].parameters()).is_meta
    assert spread.fingerprint == open_editor.backbone.fingerprint
    editor = LiveEdit(spread, open_editor.config, open_editor.modules)
    query = Query(pictures[1], QUESTION)
    repository = editor.empty()
    editor.edit(repository, [e.edit for e in open_repository])
    assert torch.allclose(repository.stacked("U"), open_repository.stacked("U"), atol=1e-5)
    wanted = open_editor.answer(open_repository, query, max_new_tokens=6)
    assert editor.answer(repository, query, max_new_tokens=6).tokens == wanted.tokens


def test_experts_kept_on_the_cpu_give_the_same_answers(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    editor = LiveEdit(open_editor.backbone, open_editor.config, open_editor.modules, experts_on="cpu")
    queries = [Query(pictures[i], QUESTION) for i in (0, 3)]
    assert editor.answer(open_repository, queries, max_new_tokens=4) == open_editor.answer(
        open_repository, queries, max_new_tokens=4
    )
    with pytest.raises(EditorError, match="choose model or cpu"):
        LiveEdit(open_editor.backbone, open_editor.config, open_editor.modules, experts_on="moon")


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(BackboneError, match="choose auto, float32, bfloat16, float16"):
        placement("cpu", "int7", None, None)
    with pytest.raises(BackboneError, match="choose auto, balanced"):
        placement("auto", None, "everywhere", None)
    with pytest.raises(BackboneError, match="leave the device to the map"):
        placement("cpu", None, "auto", None)
    with pytest.raises(BackboneError, match="choose 8bit or 4bit"):
        placement("cpu", None, None, "3bit")


def test_weights_are_in_float32_unless_some_are_quantized_or_a_type_is_named() -> None:
    unnamed = BackbonePlacement()
    assert pick_dtype(unnamed.dtype, unnamed.quantize) == pick_dtype(None) == torch.float32
    assert pick_dtype(unnamed.dtype, "4bit") == pick_dtype(None, "8bit") == torch.bfloat16
    assert pick_dtype("float32", "4bit") == torch.float32
    assert pick_dtype("float16") == pick_dtype(torch.float16, "8bit") == torch.float16


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantized_backbone_computes_in_16_bits_and_keeps_its_fingerprint(
    quantize: str, lively_backbone_folder: Path, lively_backbone: Backbone
) -> None:
    backbone = load_backbone(lively_backbone_folder, "cpu", quantize=quantize)
    kinds = {p.dtype for p in backbone.model.parameters()}
    assert kinds == {torch.bfloat16, torch.int8 if quantize == "8bit" else torch.uint8}
    assert backbone.fingerprint == lively_backbone.fingerprint


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantized_weights_without_bitsandbytes_are_refused_before_anything_loads() -> None:
    with pytest.raises(BackboneError, match="pip install bitsandbytes"):
        load_backbone("no/such-model", quantize="8bit")
