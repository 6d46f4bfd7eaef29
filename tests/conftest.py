"""What many tests share: a tiny backbone with random weights, and a tiny untrained editor over it."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.backbones import Backbone, load_backbone
from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.experts.modules import LiveEditModules
from liveedit.training.architecture import build_model, build_processor, build_tokenizer
from liveedit.types import Edit
from liveedit.world.questions import corpus

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """An untrained LLaVA of width 64, saved and loaded as a real one is."""
    folder = tmp_path_factory.mktemp("tiny-backbone")
    tokenizer = build_tokenizer(corpus(Random(0), 300), vocab_size=1200)
    build_model(tokenizer, width=64, vision_layers=2, text_layers=3).save_pretrained(folder)
    build_processor(tokenizer).save_pretrained(folder)
    return load_backbone(folder, "cpu")


@pytest.fixture(scope="session")
def tiny_editor(tiny_backbone: Backbone) -> LiveEdit:
    """An untrained editor over the tiny backbone."""
    torch.manual_seed(0)
    config = EditorConfig(
        hidden_size=64, layer=1, module_dim=32, rank=4, queries=2, heads=4, lora_scale=1.0,
        sentinel_tokens=16, generator_signal="states+tokens", backbone=tiny_backbone.fingerprint,
    )  # fmt: skip
    return LiveEdit(tiny_backbone, config)


@pytest.fixture(scope="session")
def lively_backbone_folder(tiny_backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone with larger random weights, saved: its answers depend on picture and prompt.

    A fresh model's weights are so small that it says much the same whatever goes in; exactness would be
    tested on nothing.
    """
    folder = tmp_path_factory.mktemp("lively-backbone")
    random = torch.Generator().manual_seed(0)
    model = build_model(tiny_backbone.tokenizer, width=64, vision_layers=2, text_layers=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15, generator=random)
    model.save_pretrained(folder)
    build_processor(tiny_backbone.tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lively_backbone(lively_backbone_folder: Path) -> Backbone:
    """The lively backbone, loaded as a real one is."""
    return load_backbone(lively_backbone_folder, "cpu")


@pytest.fixture(scope="session")
def open_editor(lively_backbone: Backbone, tiny_editor: LiveEdit) -> LiveEdit:
    """An editor with random weights over the lively backbone under which every expert passes hard routing.

    The biases of the extractors give all visual features a common part, twice as long on the edit side as
    on the sentinel's, so that phi . (phi_expert - phi_sentinel) is positive for every picture.
    """
    torch.manual_seed(1)
    config = replace(tiny_editor.config, backbone=lively_backbone.fingerprint)
    modules = LiveEditModules(config)
    with torch.no_grad():
        modules.query_features.read_vision.v_mlp.bias.fill_(2.0)
        modules.edit_features.read_vision.v_mlp.bias.fill_(4.0)
        # Strong residuals, so that an edit changes what is said and not only the logits behind it.
        modules.generator.v.attention.v_mlp.weight.mul_(8.0)
    return LiveEdit(lively_backbone, config, modules)


def block_picture(seed: int, side: int = 96) -> Image.Image:
    """A picture of coloured blocks; different seeds give clearly different ones."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.NEAREST)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Eight clearly different pictures."""
    return [block_picture(seed) for seed in range(8)]


@pytest.fixture(scope="session")
def some_edits(pictures: list[Image.Image]) -> list[Edit]:
    """Six edits of different pictures, lengths of prompt and lengths of answer."""
    prompts = ("What is it?", "Which animal can be seen in this picture?", "How many?")
    answers = ("snow leopard", "teapot", "seven", "a blue lighthouse", "Lisbon", "an old violin in its case")
    return [Edit(pictures[i], prompts[i % 3], answer) for i, answer in enumerate(answers)]


@pytest.fixture
def open_repository(open_editor: LiveEdit, some_edits: list[Edit]) -> ExpertRepository:
    """The six edits as experts of the open editor; a fresh value for each test."""
    repository = ExpertRepository.empty(open_editor.config)
    open_editor.edit(repository, some_edits)
    return repository


def _published_row(name: str, number: int) -> dict[str, Any]:
    """One row in the layout of E-VQA, E-IC or VLKEB; numbers that differ share no picture and no question."""
    if name == "vlkeb":
        image, redrawn = f"m.0{number}/google_1.jpg", f"m.0{number}/bing_2.jpg"
        m_loc = f"m.9{number}/yahoo_3.jpg"
    else:
        image = f"val2014/COCO_val2014_{number:012}.jpg"
        redrawn = f"val2014_image_rephrase/{number}001_COCO_val2014_{number:012}.png"
        m_loc = f"val2014/COCO_val2014_{900 + number:012}.jpg"
    return {
        "src": "a photo of" if name == "eic" else f"How many boats has number {number}?",
        "rephrase": f"What is the number of boats of {number}?",
        "pred": "no",
        "alt": f"boat {number}",
        "image": image,
        "image_rephrase": redrawn,
        "loc": f"nq question: who wrote number {number}",
        "loc_ans": "Ann",
        "m_loc": m_loc,
        "m_loc_q": f"What sport is number {number}?",
        "m_loc_a": "chess",
    }


@pytest.fixture(scope="session")
def published_row() -> Callable[[str, int], dict[str, Any]]:
    """Makes one row in a benchmark's layout."""
    return _published_row


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a benchmark's annotation file with all their pictures; returns the root."""

    def write(file: str, rows: list[dict[str, Any]], pictures: str = ".") -> Path:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(rows))
        for row in rows:
            for key in ("image", "image_rephrase", "m_loc"):
                path = tmp_path / pictures / row[key]
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    block_picture(zlib.crc32(row[key].encode()), 24).save(path)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def released_checkpoint() -> Callable[..., dict[str, Any]]:
    """Makes the content of an authors' checkpoint with random weights, as their training saves it.

    ``apart`` is how far the input side's weights are from the edit side's, ``loud`` a factor of the visual features.
    """

    def make(
        d: int, d_m: int, r: int, k: int, n_v: int, seed: int = 0, apart: float = 0.1, loud: float = 1.0
    ) -> dict[str, Any]:
        random = torch.Generator().manual_seed(seed)

        def draw(*shape: int, scale: float = 1.0, mean: float = 0.0) -> torch.Tensor:
            return mean + scale * torch.randn(*shape, generator=random)

        def norm(name: str) -> dict[str, torch.Tensor]:
            return {f"{name}weight": draw(d, scale=0.3, mean=1.0), f"{name}bias": draw(d, scale=0.3)}

        def attention(name: str, width: int) -> dict[str, torch.Tensor]:
            made = {}
            for part, size in (("q_mlp", d_m), ("k_mlp", d), ("v_mlp", d)):
                made[f"{name}.{part}.weight"] = draw(width, size, scale=1.5 / size**0.5)
                made[f"{name}.{part}.bias"] = draw(width, scale=0.3)
            return made

        def extractor() -> dict[str, torch.Tensor]:
            return {
                "eqe1": draw(1, k, d_m),
                "eqe2": draw(1, k, d_m),
                **norm("layer_norm1."),
                **norm("layer_norm2."),
                **attention("ca_query_info_ext1", d_m),
                **attention("ca_vision_info_ext", d_m),
                **attention("ca_query_info_ext2", d_m),
            }

        def generator() -> dict[str, torch.Tensor]:
            return {"phi": draw(1, r, d_m), **attention("ca_lora", d), **norm("layer_norm.")}

        # As after training, both sides see nearly alike: a picture resembles itself more than it does the sentinel.
        edit_side = extractor()
        for leaf in ("weight", "bias"):
            edit_side[f"ca_vision_info_ext.v_mlp.{leaf}"] *= loud
        input_side = {name: value + draw(*value.shape, scale=apart) for name, value in edit_side.items()}
        parts = {
            "edit_extractor": edit_side,
            "inpt_extractor": {"vis_rep_prot": draw(1, n_v, d), **input_side},
            "moegen_c": generator(),
            "moegen_r": generator(),
            "instant_reps_norm": norm(""),
        }
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.Adam([weight])
        weight.sum().backward()
        optimizer.step()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 ** (step > 10000))
        return {
            "i": 3000,
            "epoch": 2,
            "loss": 1.5,
            "ema_loss": 1.4,
            "train_modules": {name: OrderedDict(values) for name, values in parts.items()},
            "opt": optimizer.state_dict(),
            "lr_scheduler": schedule.state_dict(),
        }

    return make
