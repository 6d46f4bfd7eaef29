"""The methods of attribution by name, and the one call that runs any of them for any target it fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image

from liveedit.attribution.learned_mask import learned_mask
from liveedit.attribution.masking import MaskedPicture, blurred, mean_colour
from liveedit.attribution.pixel import ablation, occlusion
from liveedit.attribution.result import Attribution
from liveedit.attribution.targets import TARGETS, Instance, Score, Target, score_of, target_named
from liveedit.attribution.visual import token_noise
from liveedit.editors import LiveEdit
from liveedit.types import InputError

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Method:
    """One method: what people read, and how it perturbs pictures (None: the states of tokens, not pixels).

    ``removed`` makes what stands in the place of a removed region, ``explain`` the scores [h, w].
    """

    label: str
    help: str
    removed: Callable[[Image], Image] | None = None
    explain: Callable[[MaskedPicture, Score, int, Told], torch.Tensor] | None = None


METHODS: dict[str, Method] = {
    "tokens": Method(
        "Noise on tokens", "noise on the states of visual tokens: fast; where these lie on a grid over the picture"
    ),
    "occlusion": Method("Occlusion", "a window of the mean colour moves over the picture", mean_colour, occlusion),
    "ablation": Method("Ablation", "each of 64 patches takes the mean colour in turn", mean_colour, ablation),
    "mask": Method("Learned mask", "the smallest smooth region whose blurring counts most", blurred, learned_mask),
}


def method_named(name: str) -> Method:
    """The method of this name."""
    if name not in METHODS:
        raise InputError(f"the method is {name!r}: choose {', '.join(METHODS)}")
    return METHODS[name]


def fits(method: str, target: str) -> bool:
    """Whether a method can explain a target: noise on tokens runs the extractor alone, which knows no answers."""
    return method_named(method).explain is not None or target_named(target).function is not None


def attribute(
    editor: LiveEdit,
    instances: Sequence[Instance],
    method: str = "tokens",
    target: str = "feature",
    seed: int = 0,
    told: Told = lambda done, total: None,
) -> list[Attribution]:
    """One attribution per instance. Instances do not influence each other; ``seed`` is that of noise and jitter.

    ``told`` hears of progress as (done, total); what it raises ends the work and leaves nothing on the model.
    Raises :class:`InputError` where method and target do not fit, or an instance lacks what the target needs.
    """
    how, what = method_named(method), target_named(target)
    if not fits(method, target):
        others = " or ".join(name for name in METHODS if fits(name, target))
        raise InputError(
            f"noise on tokens runs the feature extractor alone, which knows no answers: choose {others} "
            f"for the target {target}"
        )
    if not instances:
        return []
    if how.explain is None:
        return _on_tokens(editor, instances, what, seed, told)
    found = []
    for number, instance in enumerate(instances):

        def tell(done: int, total: int, number: int = number) -> None:
            told(number * total + done, len(instances) * total)

        found.append(_on_pixels(editor, instance, method, target, seed, tell))
    return found


def _on_tokens(
    editor: LiveEdit, instances: Sequence[Instance], target: Target, seed: int, told: Told
) -> list[Attribution]:
    """All instances of one side share a pass of the backbone; the time is shared out evenly."""
    name = next(name for name, known in TARGETS.items() if known is target)
    start = time.perf_counter()
    assert target.function is not None
    found = token_noise(editor, instances, [target.function(editor, i) for i in instances], seed)
    seconds = (time.perf_counter() - start) / len(instances)
    told(len(instances), len(instances))
    return [Attribution(scores, "tokens", name, value, 1, seconds, region) for scores, region, value in found]


def _on_pixels(editor: LiveEdit, instance: Instance, method: str, target: str, seed: int, told: Told) -> Attribution:
    how = METHODS[method]
    assert how.explain is not None and how.removed is not None
    start = time.perf_counter()
    score = score_of(editor, instance, TARGETS[target])
    picture = MaskedPicture(editor.backbone, instance.image, how.removed(instance.image.convert("RGB")))
    with torch.no_grad():
        value = float(score(picture.clean)[0])
    scores = how.explain(picture, score, seed, told).float().cpu().numpy()
    return Attribution(scores, method, target, value, score.forwards, time.perf_counter() - start, picture.region)
