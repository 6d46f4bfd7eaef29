"""LiveEdit: lifelong vision-language model editing with generated low-rank experts and two-stage routing.

Chen et al., CVPR 2025, https://arxiv.org/abs/2411.15432. An edit becomes an expert in one forward pass up
to layer l_e; a question is routed once, when its prompt is read, and the fused expert is kept while the
answer is generated. Experts come from the unedited model, so their order does not matter and each can be
removed exactly. Without a picture there is nothing to route by, and the answer is the unedited model's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from PIL.Image import Image

from liveedit.backbones import Backbone, EncodedBatch, tensors_digest
from liveedit.backbones.memory import execution_device
from liveedit.config import EditorConfig
from liveedit.editors.base import Prediction
from liveedit.editors.decoding import generate, teacher_forced
from liveedit.editors.fit import check_architecture
from liveedit.editors.liveedit.injection import Injection, parts_on, route_among, traces_of
from liveedit.editors.liveedit.pretrained import Pretrained
from liveedit.editors.streaming import Said, spell, stream_tokens, token_probabilities
from liveedit.experts import PAPER_ROUTING, ExpertRepository, Limits, RoutingStrategy
from liveedit.experts.modules import FeatureBatch, LiveEditModules, generator_input
from liveedit.hooks import replace_output, stop_after
from liveedit.types import Answer, Edit, EditorError, Query, RoutingTrace, one_or_many

EXPERTS_ON = ("model", "cpu")
NO_IMAGE = "There is no picture in the question, so there is nothing to route by: the answer is the unedited model's."
NO_EDITS = "There are no edits, so the answer is the unedited model's."
ALL_OFF = "Every edit is switched off, so the answer is the unedited model's."


@dataclass(frozen=True)
class QueryFeatures:
    """Routing features of one question, [k, d_m] each, on the CPU; enough to route again without the backbone."""

    visual: torch.Tensor
    threshold: torch.Tensor
    prompt: torch.Tensor


@dataclass(frozen=True)
class LayerStates:
    """Layer-l_e states of one row: ``vision`` [N_v, d] in raster order and ``prompt`` [n_p, d]."""

    vision: torch.Tensor
    prompt: torch.Tensor


class LiveEdit(Pretrained):
    """The editor: trained modules over a frozen backbone. Immutable; edits live in repositories.

    ``experts_on`` says where experts are while questions are answered: "model" keeps all of a repository beside the
    model, "cpu" routes on the CPU and moves those alone that passed, for repositories larger than the GPU has room for.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: EditorConfig,
        modules: LiveEditModules | None = None,
        routing: RoutingStrategy = PAPER_ROUTING,
        experts_on: str = "model",
    ) -> None:
        check_architecture(config, backbone.config)
        if experts_on not in EXPERTS_ON:
            raise EditorError(f"experts on {experts_on!r} are not known: choose {' or '.join(EXPERTS_ON)}")
        self.backbone, self.config, self.routing, self.experts_on = backbone, config, routing, experts_on
        self.layer = backbone.layers[config.layer]
        # In float32 beside the layer they act on, whatever the backbone computes in and wherever its parts lie.
        self.device = execution_device(self.layer)
        self.modules = (modules or LiveEditModules(config)).to(self.device).float().eval().requires_grad_(False)

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration, the trained weights and the routing strategy."""
        settings = json.dumps([asdict(self.config), asdict(self.routing)], sort_keys=True)
        return f"liveedit-{hashlib.sha256(f'{settings} {self.weights}'.encode()).hexdigest()[:16]}"

    @property
    def weights(self) -> str:
        """A short name of the trained weights, which a repository keeps: only they can read the features of its experts."""
        return tensors_digest(self.modules.state_dict())

    def with_routing(self, routing: RoutingStrategy) -> LiveEdit:
        """The same trained editor under another routing strategy; modules are shared, nothing is copied.

        A repository serves editors of all strategies alike, except that visual features of whole pictures
        (``whole_picture``) can be compared with each other only.
        """
        return LiveEdit(self.backbone, self.config, self.modules, routing, self.experts_on)

    def empty(self) -> ExpertRepository:
        """A repository without experts."""
        return ExpertRepository.empty(self.config, self.weights)

    def load_state(self, path: str | Path, /, limits: Limits | None = None) -> ExpertRepository:
        """Read a repository that an editor of this configuration and these trained weights saved."""
        return ExpertRepository.load(path, self.config, self.weights, limits)

    @torch.no_grad()
    def edit(
        self, repository: ExpertRepository, edits: Sequence[Edit], *, template: bool = True, batch_size: int = 32
    ) -> list[str]:
        """Turn edits into experts, batched, and append them to ``repository``; returns their ids.

        All edits are checked before the first is applied, so a refused one leaves the repository as it was.
        """
        for edit in edits:
            self.backbone.check_edit(edit)
        ids: list[str] = []
        for start in range(0, len(edits), batch_size):
            part = list(edits[start : start + batch_size])
            answers = [[*self.backbone.answer_ids(e.target, template), self.backbone.eos_id] for e in part]
            batch = self.backbone.encode([e.image for e in part], [e.prompt for e in part], answers, template)
            hidden = self.states(batch)
            vision, prompt = parts_on(batch, self.device, "vision", "prompt")
            U, V = self.make_experts(batch, hidden, answers)
            phi, psi = self.modules.encode_edit(hidden, vision, prompt, self.routing.whole_picture)
            ids += repository.add(part, U, V, phi, psi)
        return ids

    def make_experts(
        self, batch: EncodedBatch, hidden: torch.Tensor, answers: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """U and V [B, r, d] of the edits in ``batch`` from its layer states ``hidden`` [B, T, d], in one forward pass.

        ``answers`` are the targets' token ids, which end with the stop token.
        """
        vision, prompt, answer = parts_on(batch, self.device, "vision", "prompt", "answer")
        embeddings = self.backbone.embed(batch.input_ids).to(self.device, torch.float32)
        return self.modules.generator(generator_input(vision, prompt, answer, hidden, embeddings))

    def states(self, batch: EncodedBatch) -> torch.Tensor:
        """Layer-l_e states [B, T, d] in float32 on the editor's device, differentiable in the pixels.

        The layers above are not run.
        """
        with stop_after(self.layer) as (captured, run):
            run(lambda: self.backbone.forward(batch, use_cache=False))
        return captured.tensor().to(self.device, torch.float32)

    @torch.no_grad()
    def layer_states(self, images: Sequence[Image], prompts: Sequence[str], template: bool = True) -> list[LayerStates]:
        """Layer-l_e states of pictures with prompts, for attribution and analysis."""
        batch = self.backbone.encode(images, prompts, None, template)
        hidden, (vision, prompt) = self.states(batch), parts_on(batch, self.device, "vision", "prompt")
        return [LayerStates(h[v], h[p]) for h, v, p in zip(hidden, vision, prompt, strict=True)]

    @torch.no_grad()
    def query_features(self, queries: Sequence[Query], template: bool = True) -> list[QueryFeatures]:
        """Routing features of questions with pictures, on the CPU, where they can be kept."""
        batch = self.backbone.encode([q.image for q in queries], [q.prompt for q in queries], None, template)
        vision, prompt = parts_on(batch, self.device, "vision", "prompt")
        features = self.modules.encode_query(self.states(batch), vision, prompt, self.routing.whole_picture)
        parts = (part.cpu() for part in (features.visual, features.threshold, features.prompt))
        return [QueryFeatures(*row) for row in zip(*parts, strict=True)]

    @torch.no_grad()
    def route_features(
        self, repository: ExpertRepository, features: QueryFeatures, margin_shift: float = 0.0
    ) -> RoutingTrace:
        """Route a question again from its features: after switching experts, or with the margin shifted."""
        if not len(repository):
            return RoutingTrace(reason=NO_EDITS)
        batch = FeatureBatch(features.visual[None], features.threshold[None], features.prompt[None])
        return traces_of(repository, route_among(self, repository, batch, margin_shift), margin_shift)[0]

    @overload
    def answer(
        self,
        repository: ExpertRepository | None,
        query: Query,
        *,
        max_new_tokens: int = 32,
        template: bool = True,
        margin_shift: float = 0.0,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        repository: ExpertRepository | None | Sequence[ExpertRepository | None],
        query: Sequence[Query],
        *,
        max_new_tokens: int = 32,
        template: bool = True,
        margin_shift: float = 0.0,
    ) -> list[Answer]: ...

    @torch.no_grad()
    def answer(
        self,
        repository: ExpertRepository | None | Sequence[ExpertRepository | None],
        query: Query | Sequence[Query],
        *,
        max_new_tokens: int = 32,
        template: bool = True,
        batch_size: int = 64,
        margin_shift: float = 0.0,
    ) -> Answer | list[Answer]:
        """Answer one question or several by greedy generation; each row may carry its own repository.

        ``margin_shift`` is added to every expert's margin, for a what-if.
        """
        queries, single = one_or_many(query)
        repositories = _per_row(repository, len(queries))
        for q in queries:
            self.backbone.check_prompt(q.prompt)
        answers: dict[int, Answer] = {}
        for rows, routed in self._groups(queries, repositories, batch_size):
            batch = self.backbone.encode(
                [queries[i].image for i in rows], [queries[i].prompt for i in rows], None, template
            )
            injection = Injection(self, batch, [repositories[i] for i in rows], margin_shift) if routed else None
            # Routed at prefill; the fused experts are kept for decoding.
            with replace_output(self.layer, injection) if injection else nullcontext():
                said = generate(self.backbone, batch, max_new_tokens)
            for number, (row, (text, tokens)) in enumerate(zip(rows, said, strict=True)):
                trace = injection.traces[number] if injection else self._untouched(queries[row], repositories[row])
                answers[row] = Answer(text, tokens, trace)
        ordered = [answers[i] for i in range(len(queries))]
        return ordered[0] if single else ordered

    def stream(
        self, repository: ExpertRepository | None, query: Query, *, max_new_tokens: int = 32, template: bool = True
    ) -> Iterator[Said]:
        """The answer to one question after each of its tokens; the last is what :meth:`answer` gives."""
        self.backbone.check_prompt(query.prompt)
        batch = self.backbone.encode([query.image], [query.prompt], None, template)
        injection = self._injection(repository, query, batch)
        tokens: list[int] = []
        probabilities: list[float] = []

        def so_far() -> Said:
            text, pieces = spell(self.backbone, tokens)
            trace = injection.traces[0] if injection else self._untouched(query, repository)
            return Said(Answer(text, tuple(tokens), trace), pieces, tuple(probabilities))

        for token, probability in stream_tokens(
            self.backbone, batch, max_new_tokens, lambda: self._changed(injection)
        ):  # fmt: skip
            tokens.append(token)
            probabilities.append(probability)
            yield so_far()
        if not tokens:
            yield so_far()

    def probabilities(
        self, repository: ExpertRepository | None, query: Query, tokens: Sequence[int], *, template: bool = True
    ) -> tuple[float, ...]:
        """The probability (0..1) that the model gives to each token of an answer, whoever said it."""
        if not tokens:
            return ()
        batch = self.backbone.encode([query.image], [query.prompt], [tokens], template)
        with self._changed(self._injection(repository, query, batch)):
            return token_probabilities(self.backbone, batch, tokens)

    def edited(self, batch: EncodedBatch, repository: ExpertRepository | None) -> AbstractContextManager[Any]:
        """Inside a ``with``, the model runs ``batch``, whose rows all have a picture, as it runs for an answer.

        Every row is routed anew among the repository's experts; without active ones the model is left alone.
        """
        active = repository is not None and repository.any_active
        return self._changed(Injection(self, batch, [repository] * len(batch.input_ids)) if active else None)

    def _injection(
        self, repository: ExpertRepository | None, query: Query, batch: EncodedBatch
    ) -> Injection | None:
        """The change that a repository makes to the one row of ``batch``, or None where nothing is routed."""
        routed = query.image is not None and repository is not None and repository.any_active
        return Injection(self, batch, [repository]) if routed else None

    def _changed(self, injection: Injection | None) -> AbstractContextManager[Any]:
        """The model with ``injection``, for the length of a ``with``."""
        return replace_output(self.layer, injection) if injection else nullcontext()

    @torch.no_grad()
    def predict(
        self,
        repository: ExpertRepository | None | Sequence[ExpertRepository | None],
        queries: Sequence[Query],
        targets: Sequence[str],
        *,
        template: bool = True,
        batch_size: int = 64,
    ) -> list[Prediction]:
        """Teacher-forced argmax on each target's tokens; routing sees the prompt, never the target."""
        repositories = _per_row(repository, len(queries))
        found: dict[int, Prediction] = {}
        for rows, routed in self._groups(queries, repositories, batch_size):
            answers = [self.backbone.answer_ids(targets[i], template) for i in rows]
            batch = self.backbone.encode(
                [queries[i].image for i in rows], [queries[i].prompt for i in rows], answers, template
            )
            injection = Injection(self, batch, [repositories[i] for i in rows]) if routed else None
            with replace_output(self.layer, injection) if injection else nullcontext():
                predictions = teacher_forced(self.backbone, batch, answers)
            for number, (row, prediction) in enumerate(zip(rows, predictions, strict=True)):
                if prediction.answer is not None:
                    trace = injection.traces[number] if injection else self._untouched(queries[row], repositories[row])
                    prediction = replace(prediction, answer=replace(prediction.answer, trace=trace))
                found[row] = prediction
        return [found[i] for i in range(len(queries))]

    def route(
        self, repository: ExpertRepository, queries: Sequence[Query], template: bool = True
    ) -> list[RoutingTrace]:
        """What routing decides for each question, without answering it."""
        traces: list[RoutingTrace] = []
        for q in queries:
            if q.image is None or not repository.any_active:
                traces.append(self._untouched(q, repository))
            else:
                traces.append(self.route_features(repository, self.query_features([q], template)[0]))
        return traces

    def _groups(
        self, queries: Sequence[Query], repositories: Sequence[ExpertRepository | None], batch_size: int
    ) -> list[tuple[list[int], bool]]:
        """Rows to run together. Rows without routing never share a pass with a hook, so they stay bit-identical;
        rows with and without a picture are kept apart, since models scatter image features row by row."""
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for i, (q, r) in enumerate(zip(queries, repositories, strict=True)):
            routed = q.image is not None and r is not None and r.any_active
            kinds.setdefault((routed, q.image is not None), []).append(i)
        return [
            (rows[start : start + batch_size], routed)
            for (routed, _), rows in kinds.items()
            for start in range(0, len(rows), batch_size)
        ]

    def _untouched(self, query: Query, repository: ExpertRepository | None) -> RoutingTrace:
        """The trace of a question that no routing touched, with the reason."""
        if repository is None or not len(repository):
            return RoutingTrace(reason=NO_EDITS)
        return RoutingTrace(reason=NO_IMAGE if query.image is None else ALL_OFF)

def _per_row(
    repository: ExpertRepository | None | Sequence[ExpertRepository | None], count: int
) -> list[ExpertRepository | None]:
    """One repository per row, from one for all or a list."""
    if repository is None or isinstance(repository, ExpertRepository):
        return [repository] * count
    if len(repository) != count:
        raise EditorError(f"{len(repository)} repositories were given for {count} questions: give one, or one for each")
    return list(repository)
