"""Edits per second of the joint training step, beside the same step written one sample at a time.

    python benchmarks/training_throughput.py --out docs/results/training-throughput.json

The step of this repository runs all rows of a batch through the frozen lower layers at once, without gradients, and
through the upper layers once; on fixed samples (``--joint-batches``) the states of the lower layers are kept from the
batch's first turn on, so that only the upper layers run. The other one is what one would write first: each edit's expert from a pass of its own
to layer l_e (not counted: the reliability pass could be made to give those states), then five passes of one row
through the whole model for every edit (reliability, text generality, image generality, locality after and before),
edited by a hook, with autograd through the layers above l_e; then the same routing losses. All take the same batch,
draws, weights, precision and optimiser; the script prints the losses of the first step, which agree but for
rounding. Preparing batches, and the first turn that finds the states to be kept, are not timed. The steps alternate, so
that a slow moment of the machine hits all sides, and the figures are medians. The target is for kept states.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from liveedit import LiveEdit, load_backbone
from liveedit.config import EditorTrainingConfig
from liveedit.experts import similarity
from liveedit.experts.modules import FeatureBatch, LiveEditModules, generator_input
from liveedit.experts.routing import soft_weights
from liveedit.hooks import replace_output, stop_after
from liveedit.losses import answer_loss, locality_loss
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import JOINT_STAGE, Batches, EditorBatch, EditorBatches
from liveedit.training.kept_batches import KeptBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.processes import Share, open_accelerator
from liveedit.training.routing_losses import routing_losses, stand_ins
from liveedit.world.cases import default_vocabulary

KEPT, FRESH, NAIVE = "batched, states kept", "batched", "one by one"
TARGET = 8.0
GENERALITY_ROWS = 3


class OneByOne:
    """The joint loss of a batch from passes of one row each; the trainer gives the modules, the memory and the mixing."""

    def __init__(self, trainer: EditorTrainer) -> None:
        self.trainer, self.modules, self.config = trainer, trainer.modules, trainer.config
        self.model = trainer.backbone.model
        self.layer = trainer.backbone.layers[trainer.modules.config.layer]
        self.uncounted = 0.0  # seconds

    def loss(self, batch: EditorBatch, rng: random.Random) -> torch.Tensor:
        """What :meth:`EditorTrainer.joint` returns first."""
        count = len(batch.pairs.contents)
        # The trainer draws for the routing losses before it draws the mixing.
        ahead = copy.deepcopy(rng)
        stand_ins(count, GENERALITY_ROWS, ahead)
        mixed = self.trainer.mixing(batch, ahead)
        U, V, psi = (torch.cat(part) for part in zip(*(self.expert(batch, i) for i in range(count)), strict=True))
        features: dict[int, tuple[torch.Tensor, torch.Tensor, FeatureBatch]] = {}
        losses: list[torch.Tensor] = []
        drifts: list[torch.Tensor] = []
        for edit in range(count):
            for row in (edit, count + edit, 2 * count + edit, 3 * count + edit):
                logits, features[row] = self.edited(batch, row, U, V, psi, mixed[row : row + 1])
                if row < 3 * count:
                    gold = batch.ids[row][batch.answer[row]]
                    losses.append(answer_loss(logits, gold, torch.zeros_like(gold), 1)[0])
                else:
                    before = self.unedited(batch, row)
                    drifts.append(locality_loss(before, logits, self.config.locality_direction).mean())
        rows = [features[row] for row in range(4 * count)]
        with torch.autocast("cpu", enabled=False):
            routing, _ = routing_losses(
                self.config,
                self.trainer.memory,
                batch.pairs,
                torch.cat([phi for phi, _, _ in rows]).float(),
                torch.cat([own for _, own, _ in rows]).float(),
                torch.cat([query.visual for _, _, query in rows]).float(),
                torch.cat([query.threshold for _, _, query in rows]).float(),
                torch.cat([query.prompt for _, _, query in rows]).float(),
                rng,
            )
        return torch.stack(losses).sum() / count + torch.stack(drifts).mean() + routing

    def inputs(self, batch: EditorBatch, row: int) -> dict[str, torch.Tensor]:
        """The model's inputs for one row, without padding."""
        real = batch.mask[row].bool()
        pixels = batch.pictures.value("pixel_values", [int(batch.which[row])]).to(self.model.dtype)
        return {"input_ids": batch.ids[row][real][None], "attention_mask": batch.mask[row][real][None], "pixel_values": pixels}

    def parts(self, batch: EditorBatch, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Bool [1, t]: the vision, prompt and answer tokens of one row."""
        real = batch.mask[row].bool()
        return batch.vision[row][real][None], batch.prompt[row][real][None], batch.answer[row][real][None]

    def expert(self, batch: EditorBatch, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """U, V [1, r, d] and psi [1, k, d_m] of one edit, from a pass to layer l_e."""
        inputs, parts = self.inputs(batch, row), self.parts(batch, row)
        began = time.perf_counter()
        with torch.no_grad(), stop_after(self.layer) as (captured, run):
            run(lambda: self.model(**inputs, use_cache=False))
        self.uncounted += time.perf_counter() - began
        hidden = captured.tensor().float()
        embeddings = self.trainer.backbone.embed(inputs["input_ids"]).float()
        U, V = self.modules.generator(generator_input(*parts, hidden, embeddings))
        return U, V, self.modules.encode_edit(hidden, parts[0], parts[1])[1]

    def edited(
        self, batch: EditorBatch, row: int, U: torch.Tensor, V: torch.Tensor, psi: torch.Tensor, mixed: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, FeatureBatch]]:
        """Logits [n, vocabulary] of one row's answer under the fused experts, and the row's routing features."""
        vision, prompt, answer = self.parts(batch, row)
        found: list[tuple[torch.Tensor, torch.Tensor, FeatureBatch]] = []

        def edit(output: torch.Tensor) -> torch.Tensor:
            hidden = output.float()
            query = self.modules.encode_query(hidden, vision, prompt)
            found.append((*self.modules.encode_edit(hidden, vision, prompt), query))
            with torch.autocast("cpu", enabled=False):
                _, _, weight = soft_weights(similarity(query.prompt.float(), psi.float()), mixed)
            return self.modules.residual(hidden, U, V, weight).to(output.dtype)

        with replace_output(self.layer, edit):
            logits = self.answer_logits(batch, row, int(answer.sum()))
        return logits, found[0]

    @torch.no_grad()
    def unedited(self, batch: EditorBatch, row: int) -> torch.Tensor:
        """Logits [n, vocabulary] of one row's answer without any edit."""
        return self.answer_logits(batch, row, int(batch.answer[row].sum()))

    def answer_logits(self, batch: EditorBatch, row: int, count: int) -> torch.Tensor:
        """Logits [n, vocabulary] before each of the row's last ``count`` tokens."""
        output = self.model(**self.inputs(batch, row), use_cache=False, logits_to_keep=count + 1)
        return output.logits[0, :-1].float()


def stepper(
    modules: LiveEditModules, loss_of: Callable[[EditorBatch, random.Random], torch.Tensor]
) -> Callable[[EditorBatch, int], float]:
    """A training step on a batch: loss, backward, clipping, AdamW; returns the loss."""
    optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.0)

    def step(batch: EditorBatch, number: int) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(batch, random.Random(number))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="checkpoints/emoji-llava")
    parser.add_argument("--editor", default="checkpoints/emoji-llava-liveedit")
    parser.add_argument("--batch", type=int, default=8, help="edits in a step (default: 8)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each side (default: 10)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    editor = LiveEdit.from_pretrained(options.editor, load_backbone(options.backbone, device="cpu"))
    backbone = editor.backbone
    backbone.model.to(torch.bfloat16)
    backbone.model.set_attn_implementation("eager")
    config = EditorTrainingConfig(batch=options.batch)
    cases = EditorBatches(
        7, JOINT_STAGE, options.steps + 1, options.batch, RowLayout(backbone), default_vocabulary(), None, ()
    )
    ours, keeping, theirs = (
        EditorTrainer(backbone, copy.deepcopy(editor.modules).train().requires_grad_(True), config) for _ in range(3)
    )
    one_by_one = OneByOne(theirs)
    share = Share(open_accelerator("cpu", "bf16", 1))
    kept = KeptBatches.compute(keeping.known, cases, share)
    sources: dict[str, Batches] = {KEPT: kept, FRESH: cases, NAIVE: cases}
    steps = {
        KEPT: stepper(keeping.modules, lambda batch, rng: keeping.joint(batch, rng)[0]),
        FRESH: stepper(ours.modules, lambda batch, rng: ours.joint(batch, rng)[0]),
        NAIVE: stepper(theirs.modules, one_by_one.loss),
    }
    spent: dict[str, list[float]] = {name: [] for name in steps}
    first: dict[str, float] = {}
    for number in range(options.steps + 1):
        for name, step in steps.items():
            batch = sources[name][number]
            began, one_by_one.uncounted = time.perf_counter(), 0.0
            loss = step(batch, number)
            spent[name].append(time.perf_counter() - began - one_by_one.uncounted)
            first.setdefault(name, loss)
    # The first step of each side, which warms up, is left out.
    seconds = {name: statistics.median(values[1:]) for name, values in spent.items()}
    ratios = {name: seconds[NAIVE] / seconds[name] for name in (KEPT, FRESH)}
    figures = {
        "batch": options.batch,
        "steps": options.steps,
        "threads": torch.get_num_threads(),
        "first_loss": first,
        "seconds_per_step": seconds,
        "edits_per_second": {name: options.batch / value for name, value in seconds.items()},
        "ratio": ratios,
        "target_ratio": TARGET,
    }
    print(f"{'':20s} {'s/step':>9s} {'edits/s':>9s} {'first loss':>11s}")
    for name, value in seconds.items():
        print(f"{name:20s} {value:9.3f} {options.batch / value:9.2f} {first[name]:11.4f}")
    print(f"ratio {ratios[KEPT]:.2f} with states kept (target >= {TARGET}), {ratios[FRESH]:.2f} on ever new cases")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
