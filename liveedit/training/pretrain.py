"""Training of the embedded backbone from scratch: first its eyes, then its language.

Stage 1 teaches the vision tower alone: a linear head (dropped afterwards) names what covers each
patch of a scene, and the class of a photograph. Stage 2 trains the whole LLaVA on packed questions,
with the same head as an auxiliary loss. Every batch is a pure function of the seed and the step, and
a checkpoint holds the optimiser too, so an interrupted run resumes to the same numbers.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from liveedit.config import PretrainConfig, save_json
from liveedit.data.annotations import answers_of, read_exchanges
from liveedit.training.architecture import build_model, build_processor, build_tokenizer
from liveedit.training.loop import Learner, Pace, Validation, run_stage
from liveedit.training.optim import MasterOptimizer
from liveedit.training.records import CURVE, STATE, load_state
from liveedit.training.samples import (
    IGNORE,
    IMAGE_TOKENS,
    LanguageBatch,
    LanguageBatches,
    Packer,
    VisionBatch,
    VisionBatches,
    block_mask,
    label_count,
)
from liveedit.types import ConfigError
from liveedit.world.catalogue import glyphs
from liveedit.world.photos import PhotoSet
from liveedit.world.questions import common_words, corpus

VISION, LANGUAGE = "vision", "language"
FINAL_RATE = 0.02  # factor of the learning rate at the end of a stage


def vocabulary_of(exchanges: Sequence[tuple[str, str, str]]) -> list[str]:
    """Words and phrases that the copying questions draw from."""
    facts = {value for glyph in glyphs() for value in glyph.facts.values()}
    return sorted({*common_words(), *(glyph.name for glyph in glyphs()), *facts, *answers_of(exchanges)})


def tokenizer_texts(exchanges: Sequence[tuple[str, str, str]], seed: int) -> Iterable[str]:
    """Text for the tokenizer: the world's questions, and every likely answer often enough to become whole."""
    yield from corpus(random.Random(seed), 20000)
    for word in vocabulary_of(()):
        yield from [f" {word}"] * 20
    for answer in answers_of(exchanges):
        yield from [f" {answer}"] * 3
    for question, rephrased, _ in exchanges:
        yield f"{question} {rephrased}"


def loader(dataset: Dataset[Any], start: int) -> DataLoader[Any]:
    """Batches of ``dataset`` from step ``start`` on, prepared by one background process."""
    rest = Subset(dataset, range(start, len(dataset)))  # type: ignore[arg-type]
    return DataLoader(rest, batch_size=None, num_workers=1, prefetch_factor=6)


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Mask to add to attention scores: 0 where ``allowed`` (bool), the lowest number of ``dtype`` elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)


class Backbone(nn.Module):
    """The model in bfloat16 with its auxiliary patch head, and the losses of both stages."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.llava = model
        # On a CPU, plain matrix products are 3 to 6 times faster than the fused attention on rows this short.
        model.set_attn_implementation("eager")
        self.patch_head = nn.Linear(model.model.vision_tower.config.hidden_size, label_count())
        self.bfloat16()

    def states(self, pixels: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Last hidden states of the vision tower [B, N, d] without the class token; ``kept`` [B, K] drops patches."""
        tower = self.llava.model.vision_tower
        hidden = tower.pre_layrnorm(tower.embeddings(pixels.bfloat16()))
        if kept is not None:
            index = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1)
            hidden = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
        return tower.encoder(inputs_embeds=hidden).last_hidden_state[:, 1:]

    def dense(self, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss and accuracy of the patch labels; ``labels`` [B, N]."""
        wanted = labels != IGNORE
        logits = self.patch_head(states[wanted]).float()
        gold = labels[wanted]
        return F.cross_entropy(logits, gold), (logits.argmax(-1) == gold).float().mean()

    def vision(self, batch: VisionBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a vision batch, and the accuracies on glyph patches and photographs."""
        total = torch.zeros(())
        seen: dict[str, float] = {}
        if len(batch.scenes):
            states = self.states(batch.scenes)
            loss, _ = self.dense(states, batch.labels)
            with torch.no_grad():
                only = torch.where(batch.labels < len(glyphs()), batch.labels, IGNORE)
                seen["glyph_patches"] = float(self.dense(states, only)[1])
            total = total + loss
        if len(batch.photos):
            states = self.states(batch.photos, batch.kept)
            loss, accuracy = self.dense(states, batch.classes[:, None].expand(-1, states.shape[1]))
            seen["photo_patches"] = float(accuracy)
            total = total + loss
        return total, seen

    def language(self, batch: LanguageBatch, dense_weight: float) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a language batch: answers, and the patch labels of its pictures."""
        llava = self.llava.model
        states = self.states(batch.pixels)
        embeds = llava.get_input_embeddings()(batch.tokens)
        pictures = len(batch.pixels)
        vision = llava.multi_modal_projector(states)
        embeds = torch.cat([torch.cat([vision, embeds[:pictures, IMAGE_TOKENS:]], dim=1), embeds[pictures:]], dim=0)
        hidden = llava.language_model(
            inputs_embeds=embeds,
            attention_mask=additive(block_mask(batch.segments), embeds.dtype),
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state
        wanted = batch.targets != IGNORE
        logits = self.llava.lm_head(hidden[wanted]).float()
        gold = batch.targets[wanted]
        answers = F.cross_entropy(logits, gold)
        dense, patch_accuracy = self.dense(states, batch.patches)
        total = answers + dense_weight * dense
        right = (logits.argmax(-1) == gold).float()
        of_pictures = torch.arange(len(batch.tokens)).unsqueeze(1).expand_as(wanted)[wanted] < pictures
        seen = {
            "answers": float(answers.detach()),
            "picture_tokens": float(right[of_pictures].mean()),
            "text_tokens": float(right[~of_pictures].mean()),
            "patches": float(patch_accuracy),
        }
        if batch.extra is not None and dense_weight > 0:
            loss, more = self.vision(batch.extra)
            total = total + dense_weight * loss
            seen.update(more)
        return total, seen


def measure(backbone: Backbone, dataset: LanguageBatches) -> dict[str, float]:
    """Mean of the language figures over a held-out dataset."""
    sums: dict[str, float] = {}
    with torch.no_grad():
        for step in range(len(dataset)):
            _, seen = backbone.language(dataset[step], 0.0)
            for name, value in seen.items():
                sums[name] = sums.get(name, 0.0) + value / len(dataset)
    return sums


def pretrain(
    out: Path,
    config: PretrainConfig,
    photos: Path | None = None,
    annotations: Sequence[Path] = (),
    resume: bool = False,
) -> Path:
    """Train the backbone and write it, with its processor, to ``out``; returns ``out``.

    ``photos`` is CIFAR-10 as a zip of JPEGs in class folders, ``annotations`` E-VQA or VLKEB JSON
    files; without them the world alone is used. The run's state and curve are kept in ``out``/run.
    """
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    if (run / STATE).exists() and not resume:
        raise ConfigError(f"{run} holds an unfinished training: pass --resume to continue it, or choose another folder")
    exchanges = read_exchanges(annotations)
    photo_set = PhotoSet(photos, "train") if photos is not None else None
    vocabulary = vocabulary_of(exchanges)
    torch.manual_seed(config.seed)
    tokenizer = prepare_tokenizer(run, exchanges, config)
    model = build_model(tokenizer, config.width, config.vision_layers, config.text_layers, seed=config.seed)
    backbone = Backbone(model)
    state: dict[str, Any] = {}
    if resume and (run / STATE).exists():
        state = load_state(run / STATE)
        try:
            backbone.load_state_dict(state["model"])
        except (KeyError, RuntimeError) as error:
            raise ConfigError(
                f"the checkpoint in {run} is of a backbone of other sizes: --resume with the options it was begun with"
            ) from error
    packer = Packer(tokenizer, config.text_tokens)
    vision = VisionBatches(config.seed, config.vision_steps, config.vision_scenes, photo_set, config.vision_photos)
    language = LanguageBatches(
        config.seed,
        config.steps,
        packer,
        config.pictures,
        config.text_rows,
        photo_set,
        vocabulary,
        exchanges,
        extra_photos=config.extra_photos,
        photo_share=config.photo_share,
        copy_share=config.copy_share,
    )
    held_out = LanguageBatches(config.seed, 4, packer, 48, 8, None, vocabulary, (), split="eval")
    if state.get("stage", VISION) == VISION:
        tower = [(n, p) for n, p in backbone.named_parameters() if "vision_tower" in n or "patch_head" in n]
        run_pretraining(VISION, backbone, tower, vision, None, config, run, state)
        state = {}
    everything = list(backbone.named_parameters())
    run_pretraining(LANGUAGE, backbone, everything, language, held_out, config, run, state)
    # The weights were used in bfloat16 throughout, so nothing is lost by storing them so.
    backbone.llava.eval().save_pretrained(out)
    build_processor(tokenizer).save_pretrained(out)
    save_json(config, out / "pretraining.json")
    shutil.copy(run / CURVE, out / CURVE)
    return out


def prepare_tokenizer(
    run: Path, exchanges: Sequence[tuple[str, str, str]], config: PretrainConfig
) -> PreTrainedTokenizerFast:
    """The run's tokenizer: trained once, then read back, so that a resumed run has the same one."""
    folder = run / "tokenizer"
    if folder.exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = build_tokenizer(tokenizer_texts(exchanges, config.seed), config.vocab_size)
    tokenizer.save_pretrained(folder)
    return tokenizer


class Pretraining(Learner):
    """A stage of pre-training: some of the backbone's parameters under the optimiser of float32 masters."""

    def __init__(
        self, stage: str, backbone: Backbone, named: list[tuple[str, nn.Parameter]], config: PretrainConfig
    ) -> None:
        self.stage, self.backbone, self.config = stage, backbone, config
        # A tied matrix appears once; parameters that a stage does not reach simply get a zero gradient.
        self.optimizer = MasterOptimizer(named, config.learning_rate, config.weight_decay)

    def learn(self, batch: Any, number: int, last: bool) -> dict[str, float]:
        """Add the gradient of a vision or a language batch."""
        if self.stage == VISION:
            loss, seen = self.backbone.vision(batch)
        else:
            loss, seen = self.backbone.language(batch, self.config.dense_weight)
        loss.backward()
        return {"loss": float(loss.detach()), **seen}

    def update(self, factor: float) -> bool:
        """One step of Muon and AdamW."""
        return math.isfinite(self.optimizer.step(factor))

    def state_dict(self) -> dict[str, Any]:
        """The weights and the optimiser."""
        return {"model": self.backbone.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the optimiser, whose masters set the weights that it trains."""
        self.optimizer.load_state_dict(state["optimizer"])


def run_pretraining(
    stage: str,
    backbone: Backbone,
    named: list[tuple[str, nn.Parameter]],
    dataset: Dataset[Any],
    held_out: LanguageBatches | None,
    config: PretrainConfig,
    run: Path,
    reached: dict[str, Any],
) -> None:
    """One stage from its first step, or from the checkpoint ``reached``, to its last."""
    total = len(dataset)  # type: ignore[arg-type]
    pace = Pace(total, config.warmup, FINAL_RATE, config.log_every, config.save_every)
    watched = Validation(partial(measure, backbone, held_out), 10 * config.log_every) if held_out is not None else None
    learner = Pretraining(stage, backbone, named, config)
    run_stage(stage, learner, partial(loader, dataset), pace, run, reached, watched)
