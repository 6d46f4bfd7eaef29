"""An editor that cannot be for a backbone is refused before anything loads: most folders here hold no weight."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import transformers as hf
from huggingface_hub import constants

from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.configs import TRAINED
from liveedit.editors.fit import check_fit
from liveedit.training.editor_training import train_editor
from liveedit.types import BackboneError, ConfigError, EditorError


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """The configuration of a LLaVA with 6 layers of width 64."""
    text = hf.LlamaConfig(hidden_size=64, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4)
    hf.LlavaConfig(text_config=text).save_pretrained(tmp_path / "llava")
    return tmp_path / "llava"


def editor(folder: Path, **values: object) -> Path:
    """An editor's folder without its weights."""
    folder.mkdir(exist_ok=True)
    config = asdict(EditorConfig(hidden_size=64, layer=3, module_dim=32)) | values
    (folder / "config.json").write_text(json.dumps(config))
    return folder


UNFIT = {
    "another kind": ({"backbone": "qwen3_vl-0123456789abcdef"}, "was trained for backbone qwen3_vl-.* is a llava"),
    "another width": ({"hidden_size": 4096}, "is for width 4096, the llava backbone has 64"),
    "a layer outside": ({"layer": 21}, "layer 21 is outside the backbone's 6 decoder layers: choose 0 to 5"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_editor_for_another_backbone_is_refused(
    kind: str, llava: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, reason = UNFIT[kind]
    folder = editor(tmp_path / "editor", **values)
    with pytest.raises(EditorError, match=reason):
        check_fit(folder, llava)
    assert main(["evaluate", "--edits", "2", "--editor", str(folder), "--backbone", str(llava), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: the editor at") and "loading" not in "".join(said)


def test_what_may_fit_is_not_refused_and_a_damaged_one_is(llava: Path, tmp_path: Path) -> None:
    check_fit(editor(tmp_path / "a", backbone="llava-0123456789abcdef"), llava)
    check_fit(editor(tmp_path / "b"), llava)
    for text in ('{"layer": ', "[1, 2]"):
        (tmp_path / "b" / "config.json").write_text(text)
        with pytest.raises(EditorError, match="is damaged"):
            check_fit(tmp_path / "b", llava)


def test_other_weights_of_the_same_sizes_are_told_from_the_files(
    tiny_backbone: Backbone, lively_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = editor(tmp_path / "editor", layer=1, backbone=tiny_backbone.fingerprint)
    check_fit(made, tiny_backbone.name)
    with pytest.raises(EditorError, match=f"trained for backbone {tiny_backbone.fingerprint}, .* is llava-.*: load"):
        check_fit(made, lively_backbone_folder)
    # Of a model on the hub the files tell it once they are in the cache; nothing is fetched for that.
    snapshot = tmp_path / "models--some--llava" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    for name, value in (("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(constants, name, value)
    (snapshot / "config.json").write_bytes((lively_backbone_folder / "config.json").read_bytes())
    check_fit(made, "some/llava")
    (snapshot / "model.safetensors").symlink_to(lively_backbone_folder / "model.safetensors")
    with pytest.raises(EditorError, match=r"some/llava is llava-.*: load"):
        check_fit(made, "some/llava")


def test_editors_to_compare_are_checked_before_the_first_is_trained(
    llava: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        command = [*words, "--backbone", str(llava), "--device", "cpu", "--out", str(tmp_path / "out")]
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()
        assert not any(word in line for line in said for word in ("loading", "training"))
        assert not (tmp_path / "out").exists()
        return said[-1]

    shallow = json.loads((llava / "config.json").read_text())
    assert "is for width 256, the llava backbone has 64" in refused("compare")
    assert "is for width 256" in refused("study", "routing")
    assert "is for width 256" in refused("study", "conflicts", "--edits", "2")
    other = editor(tmp_path / "other", layer=7)
    assert "layer 7 is outside" in refused("study", "editors", "--editors", f"other={other}")
    assert "there is no trained recipe at nowhere" in refused("compare", "--editors", "ft-l", "recipe=nowhere")
    assert "is the configuration of the editor lte" in refused(
        "compare", "--editors", f"recipe={untrained(tmp_path / 'lte', 'lte')}"
    )
    shallow["text_config"]["num_hidden_layers"] = 3
    (llava / "config.json").write_text(json.dumps(shallow))
    assert "layer 3 is outside the backbone's 3 decoder layers" in refused("compare", "--editors", "ft-l", "recipe")
    assert "layer 3 is outside the backbone's 3 decoder layers" in refused("compare", "--editors", "ft-l", "lemoe")
    assert "layer 18 is outside" in refused("compare", "--editors", "ft-l", "lemoe=paper")
    assert "answer_layers is 6, the backbone has 3 decoder layers" in refused("compare", "--editors", "ft-l", "serac")
    assert "mend cannot be compared: layers is 1 and above 2: together they must be below the backbone's 3" in refused("compare", "--editors", "mend")
    # The study of layers trains every one of them; the default editor takes no part in it.
    assert "layer 3 is outside the backbone's 3 decoder layers" in refused("study", "layer", "--train")


def untrained(folder: Path, name: str) -> Path:
    """The folder of a baseline with its default configuration and no weights in its file."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"editor": name, **asdict(TRAINED[name].architecture())}))
    (folder / "editor.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", ["recipe", "retrieval"])
def test_a_baseline_is_not_trained_at_a_layer_that_is_not_there(
    name: str, llava: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--editor", name, "--layer", "99", "--backbone", str(llava), "--out", str(out)]) == 2
    assert "layer 99 is outside the backbone's 6 decoder layers" in capsys.readouterr().err
    assert not out.exists()


def test_training_refuses_to_start_from_another_architecture_before_it_loads(llava: Path, tmp_path: Path) -> None:
    config, out = EditorTrainingConfig(), tmp_path / "out"
    shape = {"layer": 3, "module_dim": 32, "heads": 4, "rank": 8}
    with pytest.raises(ConfigError, match="differs in rank: start from one of the same architecture"):
        train_editor(out, llava, config, shape, init=editor(tmp_path / "given", rank=4, heads=4))
    with pytest.raises(ConfigError, match="differs in hidden_size"):
        train_editor(out, llava, config, shape, init=editor(tmp_path / "given", rank=8, heads=4, hidden_size=128))
    with pytest.raises(EditorError, match="there is no editor at"):
        train_editor(out, llava, config, shape, init=tmp_path / "none")
    assert not out.exists()
    # The sentinel's length is not known yet: with one of this architecture, what fails is that there are no weights.
    with pytest.raises(BackboneError, match="cannot be loaded"):
        train_editor(out, llava, config, shape, init=editor(tmp_path / "given", rank=8, heads=4, sentinel_tokens=9))


def test_training_refuses_impossible_sizes_before_it_loads(llava: Path, tmp_path: Path) -> None:
    config = EditorTrainingConfig(layer_twice=True)
    with pytest.raises(EditorError, match="choose 0 to 5"):
        train_editor(tmp_path / "out", llava, config, {"layer": 21})
    with pytest.raises(ConfigError, match="layer_twice needs a layer above layer 5"):
        train_editor(tmp_path / "out", llava, config, {"layer": 5})
    with pytest.raises(ConfigError, match="heads is 5"):
        train_editor(tmp_path / "out", llava, config, {"layer": 1, "heads": 5})
    assert not (tmp_path / "out").exists()
