"""Training of LiveEdit on a frozen backbone (Chen et al., CVPR 2025, Section 4.3).

Three stages. In the *solo* stage each edit meets its own expert alone, which schools the generator. The
*routing* stage trains the extractors and the sentinel alone, on cached layer states, in batches large enough
to be a crowd. In the *joint* stage the experts of a batch are mixed and all losses join. Rows of a batch run through
the frozen lower layers once, without gradients; the upper layers run on the edited states. A memory of
recent edits' visual features shows the hard filter a crowd that no batch could hold.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from liveedit.backbones import Backbone, load_backbone
from liveedit.backbones.split import LowerStates, SplitForward, image_features
from liveedit.config import EditorConfig, EditorTrainingConfig, save_json
from liveedit.editors import LiveEdit
from liveedit.editors.liveedit import load_modules
from liveedit.experts import similarity
from liveedit.experts.modules import LiveEditModules, generator_input
from liveedit.experts.routing import soft_weights
from liveedit.losses import (
    absolute_routing_loss,
    answer_loss,
    hard_routing_loss,
    locality_loss,
    mean_by_row,
    relative_routing_loss,
)
from liveedit.training.annotations import read_exchanges
from liveedit.training.crowd import FeatureMemory, StateCache, loader
from liveedit.training.editor_samples import (
    JOINT_STAGE,
    NEAR_MISS,
    ROUTING_STAGE,
    SAME_PICTURE,
    SOLO_STAGE,
    EditorBatch,
    EditorBatches,
    Pairs,
)
from liveedit.training.optim import cosine
from liveedit.training.records import STATE, Curve, save_state
from liveedit.types import ConfigError
from liveedit.world.cases import default_vocabulary
from liveedit.world.photos import PhotoSet

SOLO, ROUTING, JOINT = "solo", "routing", "joint"


class EditorTrainer:
    """The losses of one batch, for either stage."""

    def __init__(self, backbone: Backbone, modules: LiveEditModules, config: EditorTrainingConfig) -> None:
        self.backbone, self.modules, self.config = backbone, modules, config
        self.split = SplitForward(backbone, modules.config.layer)
        self.memory = FeatureMemory(config.memory)

    def lower(self, batch: EditorBatch, rows: slice | torch.Tensor) -> LowerStates:
        """The frozen half for some rows of a batch."""
        which, index = torch.unique(batch.which[rows], return_inverse=True)
        with torch.no_grad():
            vision = image_features(self.backbone, batch.pixels[which].to(self.backbone.model.dtype))
        return self.split.lower(batch.ids[rows], batch.mask[rows], batch.positions[rows], vision, index)

    def experts(self, batch: EditorBatch, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """U and V [B, r, d] of the batch's edits, from the layer states of their rows (the first B)."""
        count = len(batch.pairs.contents)
        parts = (batch.vision[:count], batch.prompt[:count], batch.answer[:count])
        embeddings = self.backbone.embed(batch.ids[:count]).float()
        return self.modules.generator(generator_input(*parts, hidden[:count], embeddings))

    def logits(
        self, batch: EditorBatch, states: LowerStates, edited: torch.Tensor, rows: torch.Tensor, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, vocabulary], gold ids [N] and sample numbers [N] of the answers of rows ``picked``.

        ``edited`` [n, T, d] are the states of those rows, ``rows`` their places among the states' rows and
        ``picked`` their places in the batch.
        """
        final = self.split.upper(states, edited.to(states.hidden.dtype), rows)
        wanted = torch.zeros_like(batch.answer[picked])
        wanted[:, :-1] = batch.answer[picked][:, 1:]
        gold = torch.zeros_like(batch.ids[picked])
        gold[:, :-1] = batch.ids[picked][:, 1:]
        number = torch.arange(len(picked))[:, None].expand_as(wanted)
        return self.backbone.model.lm_head(final[wanted]).float(), gold[wanted], number[wanted]

    def solo(self, batch: EditorBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """Each edit's answer on its own picture and on the redrawn one, under its own expert at full weight."""
        count = len(batch.pairs.contents)
        rows = torch.cat([torch.arange(count), torch.arange(2 * count, 3 * count)])
        states = self.lower(batch, rows)
        hidden = states.hidden.float()
        U, V = self.experts(batch, hidden)
        one = torch.ones(2 * count, 1)
        edited = self.modules.residual(hidden, U.repeat(2, 1, 1)[:, None], V.repeat(2, 1, 1)[:, None], one)
        logits, gold, number = self.logits(batch, states, edited, torch.arange(2 * count), rows)
        losses = answer_loss(logits, gold, number, 2 * count)
        right = (logits.argmax(-1) == gold).float()
        seen = {
            "reliability": float(losses[:count].mean().detach()),
            "generality": float(losses[count:].mean().detach()),
            "tokens_right": float(right.mean()),
        }
        return losses.mean(), seen

    def joint(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The paper's total loss: editing loss with mixed experts (Eq. 8) and routing loss (Eq. 12)."""
        count = len(batch.pairs.contents)
        states = self.lower(batch, torch.arange(4 * count))
        hidden = states.hidden.float()
        U, V = self.experts(batch, hidden)
        phi, psi = self.modules.encode_edit(hidden, batch.vision, batch.prompt)
        query = self.modules.encode_query(hidden, batch.vision, batch.prompt)
        # Routing compares similarities that differ by little: they are formed in float32.
        with torch.autocast("cpu", enabled=False):
            phi, psi = phi.float(), psi.float()
            asked = query.prompt.float()
            routing, seen = self.routing(
                batch.pairs, phi, psi, query.visual.float(), query.threshold.float(), asked, rng
            )
            mixed = self.mixing(batch, rng)
            _, _, weight = soft_weights(similarity(asked, psi[:count]), mixed)
        edited = self.modules.residual(hidden, U, V, weight)
        everything = torch.arange(4 * count)
        logits, gold, number = self.logits(batch, states, edited, everything, everything)
        losses = answer_loss(logits, gold, number, 4 * count)
        local = number >= 3 * count
        with torch.no_grad():
            places = everything[3 * count :]
            before, _, _ = self.logits(batch, states, hidden[places], places, places)
        drift = mean_by_row(
            locality_loss(before, logits[local], self.config.locality_direction), number[local] - 3 * count, count
        )
        editing = losses[:count].mean() + losses[count : 2 * count].mean() + losses[2 * count : 3 * count].mean()
        right = (logits.argmax(-1) == gold).float()[~local]
        seen |= {
            "reliability": float(losses[:count].mean().detach()),
            "text_generality": float(losses[count : 2 * count].mean().detach()),
            "image_generality": float(losses[2 * count : 3 * count].mean().detach()),
            "locality": float(drift.mean().detach()),
            "tokens_right": float(right.mean()),
        }
        return editing + drift.mean() + routing, seen

    def mixing(self, batch: EditorBatch, rng: random.Random) -> torch.Tensor:
        """Bool [4B, B]: the experts that each row is fused with.

        A random part of the batch; an edit's own rows always keep its expert. Others whose prompts mean the
        same are left out: telling those apart is the work of the hard filter, not of the prompt weights.
        """
        count = len(batch.pairs.contents)
        keep = torch.tensor([rng.random() for _ in range(4 * count)])[:, None]
        chosen = torch.tensor([[rng.random() for _ in range(count)] for _ in range(4 * count)]) < keep
        meanings = batch.pairs.same_meaning[:, :count]
        chosen &= ~torch.cat([meanings[:count]] * 3 + [meanings[count:]])
        own = torch.eye(count, dtype=torch.bool)
        # Of a look-alike picture the hard filter is to stop the edit: the fused residual seldom has to.
        kept = torch.tensor([rng.random() for _ in range(count)])[:, None]
        chance = torch.where(
            batch.pairs.locality_kind == SAME_PICTURE,
            0.8,
            torch.where(batch.pairs.locality_kind == NEAR_MISS, 0.15, 0.3),
        )
        local = (chosen[3 * count :] & ~own) | (own & (kept < chance[:, None]))
        return torch.cat([chosen[: 3 * count] | torch.cat([own] * 3), local])

    def routing(
        self,
        pairs: Pairs,
        phi: torch.Tensor,
        psi: torch.Tensor,
        visual: torch.Tensor,
        threshold: torch.Tensor,
        prompt: torch.Tensor,
        rng: random.Random,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Eqs. 12-16 on the features of the rows; both sides [(G + 1) B, k, d_m], the last B of them locality rows.

        The G rows of an edit (itself and its generality samples) stand for it in turn, drawn at random for the edit
        side and for the input side. Of ``phi`` the locality rows are not used and may be missing.
        """
        count = len(pairs.contents)
        variants = len(visual) // count - 1
        base = torch.arange(count)

        def drawn() -> torch.Tensor:
            return base + count * torch.tensor([rng.randrange(variants) for _ in range(count)])

        edit_rows, query_rows, local = drawn(), drawn(), base + variants * count
        unrelated = ~pairs.related
        experts, open_general, open_local = phi[edit_rows], unrelated[:count], unrelated[count:]
        if self.memory.features:
            experts = torch.cat([experts, torch.stack(self.memory.features)])
            open_general = torch.cat([open_general, self.memory.unrelated(pairs.contents)], 1)
            open_local = torch.cat([open_local, self.memory.unrelated(pairs.locality_contents)], 1)
        # A look-alike may share other objects with the edit's picture, and still is not the edit's business.
        own_near = torch.diag(pairs.locality_kind == NEAR_MISS)
        open_local = open_local.clone()
        open_local[:, :count] |= own_near
        hard = hard_routing_loss(
            visual[query_rows],
            threshold[query_rows],
            visual[local],
            threshold[local],
            experts,
            open_general,
            open_local,
        )
        self.memory.add(phi[:count], pairs.contents)
        own_psi = psi[edit_rows]
        asked = prompt[query_rows]
        candidates = own_psi
        allowed = ~pairs.same_meaning[:count, :count]
        if self.config.relative_candidates == "2B":
            candidates = torch.cat([own_psi, psi[local]])
            allowed = ~pairs.same_meaning[:count]
        to_candidates = similarity(asked, candidates)
        own = similarity(asked, own_psi).diagonal()
        absolute = absolute_routing_loss(own, to_candidates, allowed)
        # What else is asked of the edited picture meets the edit's own prompt feature at inference.
        from_local = similarity(prompt[local], own_psi)
        elsewhere = ~pairs.same_meaning[count:, :count]
        absolute = absolute + (torch.nn.functional.softplus(from_local) * elsewhere).sum(1) / elsewhere.sum(1).clamp(
            min=1
        )
        same = (pairs.locality_kind == SAME_PICTURE) & elsewhere.diagonal()
        absolute = absolute + torch.nn.functional.softplus(from_local.diagonal()) * same
        relative = relative_routing_loss(own, to_candidates, allowed)
        with torch.no_grad():
            passed = similarity(visual[query_rows], experts) > (visual[query_rows] * threshold[query_rows]).sum(
                (-2, -1), keepdim=True
            )[..., 0] / (threshold.shape[-2] * threshold.shape[-1] ** 0.5)
            seen = {
                "hard": float(hard.mean()),
                "absolute": float(absolute.mean()),
                "relative": float(relative.mean()),
                "own_passed": float(passed[:, :count].diagonal().float().mean()),
                "others_passed": float((passed & open_general).float().sum(1).mean()),
                "crowd": float(experts.shape[0]),
            }
        return (hard + absolute + relative).mean(), seen


def routing_step(
    trainer: EditorTrainer, cache: StateCache, rng: random.Random
) -> tuple[torch.Tensor, dict[str, float]]:
    """The routing loss alone, on cached states of a large batch."""
    chosen = rng.sample(range(len(cache.contents)), min(trainer.config.routing_batch, len(cache.contents)))
    pairs, vision, prompt, mask = cache.batch(chosen)
    # Each side meets one of an edit's two pictures, so features are made of those rows only; and the parts are
    # given apart: no attention reads the other part's tokens, so none computes their keys.
    count = len(chosen)
    base = torch.arange(count)
    edit_rows, query_rows = (base + count * torch.tensor([rng.randrange(2) for _ in chosen]) for _ in range(2))
    local = base + 2 * count
    edit, query = trainer.modules.edit_features, trainer.modules.query_features
    phi = edit.visual(edit.attention_queries(prompt[edit_rows], mask[edit_rows]), vision[edit_rows])
    rows = torch.cat([edit_rows, local])
    psi = edit.meaning(prompt[rows], mask[rows])
    rows = torch.cat([query_rows, local])
    asked = query.attention_queries(prompt[rows], mask[rows])
    visual, threshold = query.visual(asked, vision[rows]), query.threshold_feature(asked)
    meaning = query.meaning(prompt[rows], mask[rows])
    with torch.autocast("cpu", enabled=False):
        return trainer.routing(pairs, phi.float(), psi.float(), visual.float(), threshold.float(), meaning.float(), rng)


def routing_stage(
    trainer: EditorTrainer, cases: EditorBatches, run: Path, reached: dict[str, Any], fresh: bool = True
) -> None:
    """Cache the states of ``cases`` (the same ones again after an interruption) and train the routing on them.

    ``fresh`` extractors have seen nothing yet; they are first fitted to the scale of the states.
    """
    steps = trainer.config.routing_steps
    if int(reached.get("step", 0)) >= steps:
        return
    cache = StateCache(trainer.lower, cases)
    if fresh and not reached:
        for extractor in (trainer.modules.edit_features, trainer.modules.query_features):
            extractor.standardise(*cache.sample())
    run_stage(
        ROUTING,
        trainer,
        steps,
        lambda first: range(first, steps),
        lambda _, rng: routing_step(trainer, cache, rng),
        run,
        reached,
    )


def started_from(folder: Path, config: EditorConfig) -> LiveEditModules:
    """The modules of the editor in ``folder``, checked to be of the architecture of ``config``."""
    modules = load_modules(folder)
    differing = [
        f.name
        for f in fields(config)
        if f.name != "backbone" and getattr(modules.config, f.name) != getattr(config, f.name)
    ]
    if differing:
        raise ConfigError(
            f"the editor in {folder} differs in {', '.join(differing)}: start from one of the same architecture, or "
            "give its values as options"
        )
    return modules


def train_editor(
    out: Path,
    backbone_path: Path,
    config: EditorTrainingConfig,
    architecture: dict[str, Any],
    photos: Path | None = None,
    annotations: Sequence[Path] = (),
    resume: bool = False,
    init: Path | None = None,
) -> Path:
    """Train an editor for the backbone at ``backbone_path`` and write it to ``out``; returns ``out``.

    ``architecture`` overrides fields of :class:`EditorConfig`; width, sentinel length and fingerprint come from
    the backbone. The state of an unfinished run lies in ``out``/run and is continued with ``resume``. ``init`` is
    an editor's folder to start from: one of the same architecture, be it for another backbone of this width.
    """
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    if (run / STATE).exists() and not resume:
        raise ConfigError(f"{run} holds an unfinished training: pass --resume to continue it, or choose another folder")
    backbone = load_backbone(backbone_path, device="cpu")
    tokens = int(backbone.config.image_seq_length)
    editor_config = EditorConfig(
        **{
            "sentinel_tokens": tokens,
            **architecture,
            "hidden_size": backbone.hidden_size,
            "backbone": backbone.fingerprint,
        }
    )
    torch.manual_seed(config.seed)
    modules = LiveEditModules(editor_config)
    if init is not None:
        modules.load_state_dict(started_from(init, editor_config).state_dict())
    backbone.model.to(torch.bfloat16)
    # As in pre-training: on rows this short plain attention is several times faster on a CPU.
    backbone.model.set_attn_implementation("eager")
    exchanges = read_exchanges(annotations)
    photo_set = PhotoSet(photos, "train") if photos is not None else None
    vocabulary = default_vocabulary()
    trainer = EditorTrainer(backbone, modules, config)
    state: dict[str, Any] = torch.load(run / STATE, weights_only=True) if resume and (run / STATE).exists() else {}
    if state:
        modules.load_state_dict(state["modules"])

    def batches(stage: int, steps: int, size: int) -> EditorBatches:
        return EditorBatches(config.seed, stage, steps, size, backbone.tokenizer, vocabulary, photo_set, exchanges)

    order = (SOLO, ROUTING, JOINT)
    for stage in order[order.index(state["stage"]) if state else 0 :]:
        reached = state if state.get("stage") == stage else {}
        if stage == SOLO:
            solo = batches(SOLO_STAGE, config.solo_steps, config.solo_batch)
            run_stage(
                stage, trainer, len(solo), partial(loader, solo), lambda batch, _: trainer.solo(batch), run, reached
            )
        elif stage == ROUTING:
            cases = batches(ROUTING_STAGE, config.routing_cases // config.batch, config.batch)
            routing_stage(trainer, cases, run, reached, fresh=init is None)
        elif stage == JOINT:
            joint = batches(JOINT_STAGE, config.steps, config.batch)
            run_stage(stage, trainer, len(joint), partial(loader, joint), trainer.joint, run, reached)
    fresh = load_backbone(backbone_path, device="cpu")
    LiveEdit(fresh, replace(editor_config, backbone=fresh.fingerprint), modules).save_pretrained(out)
    save_json(config, out / "training.json")
    shutil.copy(run / "curve.jsonl", out / "curve.jsonl")
    return out


def run_stage(
    stage: str,
    trainer: EditorTrainer,
    total: int,
    batches: Callable[[int], Iterable[Any]],
    loss_of: Callable[[Any, random.Random], tuple[torch.Tensor, dict[str, float]]],
    run: Path,
    state: dict[str, Any],
) -> None:
    """One stage from its first step, or from the step in ``state``, to its last.

    ``batches`` gives the stage's batches from a step on; ``loss_of`` the loss of one and figures for the curve.
    """
    config, modules = trainer.config, trainer.modules
    modules.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    first = 0
    if state:
        optimizer.load_state_dict(state["optimizer"])
        trainer.memory.load_state_dict(state["memory"])
        first = int(state["step"])
    curve = Curve(run / "curve.jsonl", stage, first)
    peak = config.learning_rate * (config.joint_rate if stage == JOINT else 1.0)
    bar = tqdm(total=total, initial=first, desc=stage, file=sys.stderr, mininterval=5)
    began, sums, count = time.monotonic(), dict[str, float](), 0
    for step, batch in enumerate(batches(first), start=first):
        for group in optimizer.param_groups:
            group["lr"] = peak * cosine(step, total, config.warmup, config.final_rate)
        # The autocast saves half of the time of the editor's own modules; similarities are formed in float32.
        with torch.autocast("cpu", torch.bfloat16):
            rng = random.Random(f"{config.seed} {stage} {step}")
            loss, seen = loss_of(batch, rng)
        if not torch.isfinite(loss):
            raise ConfigError(
                f"the loss is not finite at step {step} of stage {stage}: lower --learning-rate and --resume"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        for name, value in {"loss": float(loss.detach()), **seen}.items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        bar.update()
        done = step + 1
        if done % config.log_every == 0 or done == total:
            means = {name: round(value / count, 4) for name, value in sums.items()}
            curve.add(stage=stage, step=step, seconds=round(time.monotonic() - began, 1), **means)
            bar.set_postfix(loss=means["loss"])
            sums, count = {}, 0
        if done % config.save_every == 0 or done == total:
            save_state(
                run / STATE,
                {
                    "stage": stage,
                    "step": done,
                    "modules": modules.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "memory": trainer.memory.state_dict(),
                },
            )
    bar.close()
    modules.eval().requires_grad_(False)
