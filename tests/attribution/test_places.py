"""Where a map lies: over the very part of the picture that its tokens or masked pixels come from."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import WIDTH, blip2_opt, save, side
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from liveedit.attribution import Instance, attribute, note_of
from liveedit.attribution.masking import MaskedPicture
from liveedit.attribution.pixel import ablation
from liveedit.attribution.places import places_of, token_grid
from liveedit.backbones import Backbone, load_backbone
from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.pictures import WHOLE, Region
from liveedit.types import BackboneError

PHOTO = (640, 480)


def with_pictures(backbone: Backbone, image_processor: object) -> Backbone:
    """The same model under another image processor."""
    processor = copy.copy(backbone.processor)
    processor.image_processor = image_processor
    return Backbone(backbone.model, processor, backbone.name)


@pytest.fixture(scope="module")
def cropping(lively_backbone: Backbone) -> Backbone:
    """As LLaVA-1.5 is published: the short side is resized, the middle cut out."""
    return with_pictures(lively_backbone, CLIPImageProcessorPil(size={"shortest_edge": 112}, crop_size=side(112)))


@pytest.fixture(scope="module")
def padding(lively_backbone: Backbone) -> Backbone:
    """As LLaVA-1.5 was trained: the picture is padded to a square."""
    pictures = LlavaImageProcessorPil(do_pad=True, size={"shortest_edge": 112}, crop_size=side(112))
    return with_pictures(lively_backbone, pictures)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Qwen2.5-VL, which keeps a picture's proportions: 4 to 1 becomes 8 x 2 tokens."""
    backbone = load_backbone(save("qwen2_5_vl", tmp_path_factory.mktemp("qwen")), "cpu")
    backbone.processor.image_processor.size = {"shortest_edge": 8 * 8 * 4, "longest_edge": 8 * 8 * 16}
    return backbone


class Brightness:
    """The mean brightness of some of the pixel values."""

    forwards = 0

    def __init__(self, rows: slice, columns: slice) -> None:
        self.rows, self.columns = rows, columns

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :, self.rows, self.columns].mean((1, 2, 3))


def features(backbone: Backbone, picture: Image.Image) -> torch.Tensor:
    """The visual tokens [N, d] as the language model takes them."""
    pictures = backbone.encode([picture], ["?"]).pictures
    assert pictures is not None
    with torch.no_grad():
        found = backbone.model.get_image_features(**pictures.values, return_dict=True).pooler_output
    return (found if torch.is_tensor(found) else torch.cat(list(found))).flatten(0, -2)


def most_changed(backbone: Backbone, size: tuple[int, int], x: float, y: float, reach: tuple[float, float]) -> int:
    """The visual token that changes most with a white patch around the place (x, y) of a black picture."""
    black, marked = Image.new("RGB", size), Image.new("RGB", size)
    box = ((x - reach[0]) * size[0], (y - reach[1]) * size[1], (x + reach[0]) * size[0], (y + reach[1]) * size[1])
    marked.paste("white", tuple(round(edge) for edge in box))
    return int((features(backbone, marked) - features(backbone, black)).norm(dim=1).argmax())


def centres(region: Region, rows: int, columns: int) -> list[tuple[float, float]]:
    """The middle of every cell of a map over a region, row by row."""
    left, top, right, bottom = region
    return [
        (left + (column + 0.5) / columns * (right - left), top + (row + 0.5) / rows * (bottom - top))
        for row in range(rows) for column in range(columns)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "grid", "region"),
    [
        ("lively_backbone", PHOTO, (8, 8), WHOLE),
        ("lively_backbone", (1000, 8), (8, 8), WHOLE),
        ("cropping", PHOTO, (8, 8), (0.125, 0.0, 0.875, 1.0)),
        ("cropping", (300, 500), (8, 8), (0.0, 0.2, 1.0, 0.8)),
        ("padding", (640, 400), (6, 8), (0.0, -0.1, 1.0, 1.1)),
        ("qwen", (128, 32), (2, 8), WHOLE),
        ("qwen", (64, 128), (5, 2), WHOLE),
    ],
)
def test_each_cell_lies_where_its_token_s_pixels_are(
    name: str, size: tuple[int, int], grid: tuple[int, int], region: Region, request: pytest.FixtureRequest
) -> None:
    backbone = request.getfixturevalue(name)
    found = token_grid(backbone, size)
    numbers = np.arange(found.rows * found.columns).reshape(found.rows, found.columns)[found.shown]
    assert numbers.shape == grid
    assert found.region == pytest.approx(region, abs=0.01)
    if region == WHOLE:
        assert found.region == WHOLE
    left, top, right, bottom = found.region
    # A third of a cell to each side: of cells that lie half in the padding some of it is in the picture.
    reach = (right - left) / grid[1] / 3, (bottom - top) / grid[0] / 3
    for number, (x, y) in zip(numbers.flatten(), centres(found.region, *grid), strict=True):
        assert most_changed(backbone, size, x, y, reach) == number


def test_noise_on_tokens_and_pixel_methods_lie_over_the_same_part(cropping: Backbone, open_editor: LiveEdit) -> None:
    editor = LiveEdit(cropping, open_editor.config, open_editor.modules)
    picture = Image.effect_noise(PHOTO, 80).convert("RGB")
    maps = [attribute(editor, [Instance(picture, "What is it?")], method)[0] for method in ("tokens", "ablation")]
    assert [one.scores.shape for one in maps] == [(8, 8), (8, 8)]
    assert maps[0].region == maps[1].region == pytest.approx((0.125, 0.0, 0.875, 1.0), abs=0.01)
    assert all(one.cropped and "cropped away" in note_of(one) for one in maps)
    (whole,) = attribute(open_editor, [Instance(picture, "What is it?")])
    assert whole.region == WHOLE and not whole.cropped and "cropped" not in note_of(whole)
    # The hottest cell is the token whose noise costs most, and its place shows that token.
    hottest = int(maps[0].scores.argmax())
    x, y = centres(maps[0].region, 8, 8)[hottest]
    assert most_changed(cropping, PHOTO, x, y, (0.03, 0.04)) == hottest


def test_pictures_of_several_shapes_are_explained_at_once(qwen: Backbone) -> None:
    torch.manual_seed(0)
    config = EditorConfig(
        hidden_size=WIDTH, layer=2, module_dim=16, rank=2, queries=2, heads=2, lora_scale=1.0, sentinel_tokens=5,
        backbone=qwen.fingerprint,
    )  # fmt: skip
    editor = LiveEdit(qwen, config)
    instances = [Instance(Image.effect_noise(size, 80), "What is it?") for size in ((128, 32), (64, 128), (32, 32))]
    together = attribute(editor, instances)
    assert [one.scores.shape for one in together] == [(2, 8), (5, 2), (4, 4)]
    for instance, one in zip(instances, together, strict=True):
        (alone,) = attribute(editor, [instance])
        assert np.allclose(one.scores, alone.scores, atol=1e-5)
        assert one.scores.max() > 0


def test_ablated_patches_lie_where_the_model_s_pixels_are(cropping: Backbone) -> None:
    masked = MaskedPicture(cropping, Image.new("RGB", PHOTO, "white"), Image.new("RGB", PHOTO, "black"))
    # The patch in row 2 and column 5 of the 8 x 8 that the model sees.
    scores = ablation(masked, Brightness(slice(28, 42), slice(70, 84)), 0, lambda done, total: None)
    x, y = centres(masked.region, 8, 8)[int(scores.argmax())]
    assert most_changed(cropping, PHOTO, x, y, (0.03, 0.04)) == 2 * 8 + 5
    # What was cropped away has no cell, so nothing is said of it; every cell counts, to a pixel.
    everything = ablation(masked, Brightness(slice(None), slice(None)), 0, lambda done, total: None)
    assert everything.min() > 0.8 * everything.max()


def test_padding_comes_from_nowhere(padding: Backbone) -> None:
    places = places_of(padding, PHOTO)
    assert places.region == WHOLE
    assert places.seen.float().mean() == pytest.approx(0.75, abs=0.02)


# InternVL makes 3 tiles and a thumbnail of the first picture: 16 tokens, as many as a square has.
@pytest.mark.parametrize("name", ["internvl", "llava_next", "llava_onevision", "idefics3"])
def test_pictures_in_tiles_are_refused(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save(name, tmp_path), "cpu")
    with pytest.raises(BackboneError, match=r"picture of 96 x 32 pixels into \d tiles.*choose occlusion, ablation or"):
        token_grid(backbone, (96, 32))


def test_one_tile_alone_is_a_grid(tmp_path: Path) -> None:
    found = token_grid(load_backbone(save("internvl", tmp_path), "cpu"), (24, 24))
    assert (found.rows, found.columns, found.region) == (2, 2, WHOLE)


@pytest.mark.parametrize("queries", [4, 6])
def test_queries_that_look_anywhere_are_refused_though_they_make_a_square(queries: int) -> None:
    backbone = Backbone(*blip2_opt(queries), "blip2")
    with pytest.raises(BackboneError, match=f"{queries} visual tokens do not lie on a grid.*choose occlusion"):
        token_grid(backbone, (40, 40))
