"""What cannot serve as a backbone is refused from its configuration alone: none of these folders holds a weight."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from architectures import save
from huggingface_hub import constants

from liveedit.backbones import load_backbone
from liveedit.backbones.checks import KINDS, layer_refusal
from liveedit.types import BackboneError

REFUSED: dict[str, tuple[Any, str]] = {
    "encoder-decoder": (
        lambda: hf.Blip2Config(text_config=hf.T5Config(), image_token_index=3),
        "is a blip-2 model with an encoder and a decoder for its text",
    ),
    "text only": (lambda: hf.LlamaConfig(), "is a llama model, which sees no pictures"),
    "no placeholders": (lambda: hf.Blip2Config(), "is a blip-2 model without image placeholder tokens"),
    "cross-attention": (lambda: hf.MllamaConfig(), "is a mllama model, which reads its picture by cross-attention"),
    "no text": (lambda: hf.GlmImageConfig(), "is a glm_image model, which writes no text"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_kinds_of_models_are_refused(kind: str, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    make().save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=reason) as caught:
        load_backbone(tmp_path, "cpu")
    assert str(caught.value).endswith(f"choose {KINDS}")


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "another program's": ({"model_type": "mystery"}, "mystery"),
    "with a part of another program's": ({"model_type": "llava", "text_config": {"model_type": "mystery"}}, "mystery"),
    "code beside the model": (
        {"model_type": "mystery", "auto_map": {"AutoConfig": "configuration_mystery.MysteryConfig"}},
        "mystery",
    ),
    "code and no type": ({"auto_map": {"AutoConfig": "configuration_mystery.MysteryConfig"}}, "custom"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_model_types_without_a_class_are_refused_and_no_code_is_offered(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, named = UNSUPPORTED[kind]
    (tmp_path / "config.json").write_text(json.dumps(values))
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "n")
    with pytest.raises(BackboneError, match=rf"the model type {named} of .* is not supported") as caught:
        load_backbone(tmp_path, "cpu")
    assert str(caught.value).endswith(f"choose {KINDS}")
    assert not asked


@pytest.mark.parametrize("values", [{}, {"model_type": "llava", "text_config": {"hidden_size": "wide"}}])
def test_a_configuration_that_says_nothing_or_nonsense_is_damaged(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(BackboneError, match="its configuration is missing or damaged"):
        load_backbone(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "GatedRepo"), (401, "RepoNotFound"), (401, None)], ids=["gated", "private", "bad token"]
)
def test_a_closed_repository_asks_to_log_in(
    status: int, code: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            if code is None:
                self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
            else:
                self.send_header("X-Error-Code", code)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(BackboneError, match=r"ask for access .* and log in with `hf auth login`"):
            load_backbone("somebody/a-model", "cpu")
        server.shutdown()


def test_a_model_that_is_not_cached_is_said_so_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match="no model of that name is cached"):
        load_backbone("somebody/a-model", "cpu")


def test_a_processor_that_spreads_no_picture_is_refused_before_the_weights(tmp_path: Path) -> None:
    """A folder of a LLaVA with an older processor, which left that to the model; its weights are cut short."""
    save("llava", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    path = tmp_path / "processor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "patch_size": None}))
    with pytest.raises(BackboneError, match="does not spread a picture over placeholder tokens"):
        load_backbone(tmp_path, "cpu")


def test_a_processor_that_leaves_a_bare_marker_is_refused(tmp_path: Path) -> None:
    """One token for a picture is the token that was written, as with models that take it by another way."""
    save("llava", tmp_path)
    path = tmp_path / "processor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "patch_size": 32}))
    with pytest.raises(BackboneError, match="does not spread a picture over placeholder tokens"):
        load_backbone(tmp_path, "cpu")


def test_layers_are_those_the_model_has_and_edits_can_reach() -> None:
    llava = hf.LlavaConfig(text_config=hf.LlamaConfig(num_hidden_layers=6))
    assert layer_refusal(llava, 0) is None and layer_refusal(llava, 5) is None
    assert layer_refusal(llava, 6) == "layer 6 is outside the backbone's 6 decoder layers: choose 0 to 5"
    deep = hf.Qwen3VLConfig(
        text_config={"num_hidden_layers": 6}, vision_config={"depth": 4, "deepstack_visual_indexes": [1, 2, 3]}
    )
    assert layer_refusal(deep, 3) is None
    assert "adds visual features in its first 3 decoder layers" in str(layer_refusal(deep, 2))
    assert str(layer_refusal(deep, 2)).endswith("at layer 2: choose 3 to 5")
