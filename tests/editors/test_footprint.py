"""The plan of a backbone: counted from its configuration, equal to what is there once it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL.Image import Image
from safetensors.torch import load_file

from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.editors import LiveEdit
from liveedit.editors.footprint import footprint
from liveedit.types import BackboneError, Edit

LLAVA_7B = {
    "model_type": "llava",
    "image_token_id": 32000,
    "image_seq_length": 576,
    "text_config": {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                    "num_attention_heads": 32, "vocab_size": 32064},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "patch_size": 14,
                      "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
                      "projection_dim": 768},
}  # fmt: skip


def written(values: dict[str, object], path: Path) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_llava_7b_has_its_published_size_and_the_papers_layer(tmp_path: Path) -> None:
    found = footprint(written(LLAVA_7B, tmp_path / "config.json"))
    assert found.parameters == pytest.approx(7.06e9, rel=1e-3)  # as the hub states for llava-1.5-7b-hf
    assert (found.layers, found.hidden_size, found.editor.layer, found.image_tokens) == (32, 4096, 21, 576)
    assert found.memory["bfloat16"].weights == 2 * found.parameters
    # Two matrices of 4 x 4096 and two features of 4 x 1024, in float32.
    assert found.bytes_per_edit == 4 * (2 * 4 * 4096 + 2 * 4 * 1024)
    sizes = [found.memory[kind].serving for kind in ("float32", "bfloat16", "8bit", "4bit")]
    assert sizes == sorted(sizes, reverse=True)
    assert found.memory["4bit"].training is None


def test_tiles_are_counted_where_the_configuration_names_them_and_assumed_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiled = {**LLAVA_7B, "model_type": "llava_next", "image_grid_pinpoints": [[336, 672], [672, 672], [1008, 336]]}
    found = footprint(written(tiled, tmp_path / "config.json"))
    # 24 x 24 patches of the whole picture, then 48 rows of 48 patches and a token that ends the row.
    assert (found.image_tokens, found.image_tokens_known) == (576 + 48 * 49, True)
    by_processor = {
        "model_type": "internvl",
        "image_token_id": 5,
        "image_seq_length": 256,
        "text_config": {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4},
        "vision_config": {"model_type": "internvl_vision", "hidden_size": 64, "num_hidden_layers": 2},
    }
    assert main(["plan", str(written(by_processor, tmp_path / "config.json"))]) == 0
    assert "at most 576 tokens (assumed: give --image-tokens)" in capsys.readouterr().out


def test_the_plan_meets_what_is_loaded(
    lively_backbone: Backbone, some_edits: list[Edit], pictures: list[Image], tmp_path: Path
) -> None:
    # The configuration alone, in a folder without weights.
    shutil.copy(Path(lively_backbone.name) / "config.json", tmp_path)
    found = footprint(tmp_path)
    assert found.parameters == sum(p.numel() for p in lively_backbone.model.parameters())
    assert found.editor.layer == 2  # 21 / 32 of three layers
    editor = LiveEdit(lively_backbone, found.editor)
    editor.save_pretrained(tmp_path / "editor")
    saved = load_file(tmp_path / "editor" / "editor.safetensors")
    assert sum(t.numel() * t.element_size() for t in saved.values()) == found.editor_bytes
    repository = editor.empty()
    editor.edit(repository, some_edits[:3])
    assert repository.nbytes() == 3 * found.bytes_per_edit


def test_another_layer_leaves_more_or_less_to_train_through(tmp_path: Path) -> None:
    path = written(LLAVA_7B, tmp_path / "config.json")
    low, high = footprint(path, layer=10).memory["bfloat16"], footprint(path, layer=30).memory["bfloat16"]
    assert low.training is not None and high.training is not None
    assert low.training > high.training
    assert low.serving == high.serving
    with pytest.raises(BackboneError, match="choose 0 to 31"):
        footprint(path, layer=32)


@pytest.mark.parametrize("values", [{"model_type": "llama"}, {"model_type": "t5"}])
def test_models_that_cannot_be_edited_are_refused(values: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="choose a"):
        footprint(written(values, tmp_path / "config.json"))
    with pytest.raises(BackboneError, match="there is no backbone"):
        footprint(tmp_path / "none.json")


def test_the_command_prints_a_table_or_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(LLAVA_7B, tmp_path / "config.json")
    assert main(["plan", str(path)]) == 0
    out = capsys.readouterr().out
    assert "layer 21 (0 to 31)" in out
    assert "163.8 kB" in out
    assert main(["plan", str(path), "--layer", "5", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["editor"]["layer"] == 5
    assert value["memory"]["4bit"]["training"] is None
    assert main(["plan", str(path), "--batch", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
