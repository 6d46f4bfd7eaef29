"""Where the model looked: heatmaps of the question and of the nearest edits, by any method and for any target.

Maps are found after each answer and whenever another method or target is chosen. Those of noise on tokens come
together and at once. The others take seconds each, so every map is a step of its own in the queue: other people's
questions go in between, and the rest can be stopped. What was found is kept beside the session, by what it
belongs to, so a step that ends late can never show another question's maps nor change the session.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL.Image import Image

from liveedit.attribution import (
    METHODS,
    TARGETS,
    Attribution,
    Instance,
    attribute,
    default_method,
    expert_instances,
    fits,
    nearest_experts,
    note_of,
    question_instance,
)
from liveedit.attribution.methods import method_named
from liveedit.attribution.targets import target_named
from liveedit.editors import LiveEdit
from liveedit.types import ExpertTrace, LiveEditError
from liveedit.ui.figures import heatmap_picture
from liveedit.ui.history import edits_digest
from liveedit.ui.markup import block, distance, escape, number, sentence, shorten, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu, package
from liveedit.ui.wiring import PROGRESS, QUICK, Updates, Wiring, told

QUESTION = "question"
SIDE = 320
EMPTY = '<p class="empty">Ask about a picture under at least one edit.</p>'
LEGEND = (
    '<p class="legend"><span>mattered less</span><span class="ramp" aria-hidden="true"></span>'
    "<span>mattered more</span></p>"
)
# Maps by what they show and what they depend on: see :func:`wanted`.
Maps = Mapping[str, Attribution]


@dataclass(frozen=True)
class HeatmapPanel:
    """The components others wire to."""

    target: gr.Radio
    method: gr.Radio
    maps: gr.State
    heatmaps: gr.HTML
    stop: gr.Button
    stopped: gr.State
    more: gr.State

    @property
    def inputs(self) -> list[Any]:
        """What a step reads beside the session."""
        return [self.maps, self.target, self.method, self.stopped, self.more]

    @property
    def outputs(self) -> list[Any]:
        """What a step changes."""
        return [self.maps, self.heatmaps, self.stop, self.more]


def build_heatmap_panel(wiring: Wiring) -> HeatmapPanel:
    """The two choices and the heatmaps, which follow each answer in a step of their own."""
    block("<h3>Where the model looked</h3>")
    with gr.Row(elem_id="heat-choices"):
        target = gr.Radio(
            [(one.label, name) for name, one in TARGETS.items()], value="feature", label="What is explained"
        )
        method = gr.Radio(
            [(one.label, name) for name, one in METHODS.items()], value=default_method(wiring.editor.backbone),
            label="How it is found",
        )  # fmt: skip
    heatmaps = block(elem_id="heatmaps")
    stop = gr.Button("Stop", size="sm", visible=False, elem_id="heat-stop")
    maps = gr.State({})
    stopped = gr.State("")
    more = gr.State(0)
    panel = HeatmapPanel(target, method, maps, heatmaps, stop, stopped, more)
    wiring.shows(heatmaps, pending_html)
    wiring.follows(_step_of(wiring.editor, panel), [wiring.session, *panel.inputs], panel.outputs, heatmaps)
    return panel


def wire_heatmap_panel(wiring: Wiring, panel: HeatmapPanel) -> None:
    """Another choice finds its maps, a step asks for the next one, and the rest can be stopped."""
    step = told(_step_of(wiring.editor, panel))
    inputs = [wiring.session, *panel.inputs]

    def on_choice(state: Session, maps: Maps, target: str, method: str) -> tuple[str, str]:
        return "", heatmaps_html(state, maps, target, method)

    def on_stop(state: Session, target: str, method: str) -> tuple[str, Any]:
        return work_key(state, target, method), gr.Button(visible=False)

    chosen = gr.on(
        [panel.target.input, panel.method.input], told(on_choice),
        [wiring.session, panel.maps, panel.target, panel.method], [panel.stopped, panel.heatmaps], **QUICK,
    )  # fmt: skip
    # A choice made while a step waits in the queue has a step of its own after that one.
    again = wiring.queued(show_progress_on=panel.heatmaps, trigger_mode="always_last")
    chosen.success(step, inputs, panel.outputs, **again)
    panel.more.change(step, inputs, panel.outputs, **again)
    panel.stop.click(
        told(on_stop), [wiring.session, panel.target, panel.method], [panel.stopped, panel.stop], **QUICK
    )  # fmt: skip


def _step_of(editor: LiveEdit, panel: HeatmapPanel) -> Callable[..., Updates]:
    """The action that finds the next maps that are missing."""

    def on_step(
        state: Session,
        maps: Maps,
        target: str,
        method: str,
        stopped: str,
        more: int,
        progress: gr.Progress = PROGRESS,
    ) -> Updates:
        every = wanted(state, target, method)
        missing = {key: one for key, one in every.items() if key not in maps}
        if not missing or not fits(method, target) or stopped == work_key(state, target, method):
            return {panel.heatmaps: heatmaps_html(state, maps, target, method), panel.stop: gr.Button(visible=False)}
        # Noise on tokens takes all pictures at once; of the others, each is a step.
        part = missing if method == "tokens" else dict([next(iter(missing.items()))])

        def tell(done: int, total: int) -> None:
            progress((done, total), desc="Finding the regions that mattered", unit="pictures")

        try:
            found = dict(zip(part, _found_maps(editor, list(part.values()), method, target, tell), strict=True))
        except LiveEditError as error:
            # Why there is no map stays to be read until something else is chosen or asked.
            rest = heatmaps_html(state, maps, target, method) if len(missing) < len(every) else ""
            return {panel.heatmaps: refusal_html(error) + rest, panel.stop: gr.Button(visible=False)}
        kept = {**still_true(state, maps), **found}
        shown = {panel.maps: kept, panel.heatmaps: heatmaps_html(state, kept, target, method)}
        if len(found) == len(missing):
            return {**shown, panel.stop: gr.Button(visible=False)}
        return {**shown, panel.stop: gr.Button(visible=True), panel.more: more + 1}

    return on_step


def _found_maps(
    editor: LiveEdit,
    instances: Sequence[Instance],
    method: str,
    target: str,
    tell: Callable[[int, int], None],
) -> list[Attribution]:
    """The maps of ``instances``; ``tell`` hears of each picture, unless they are found in another process."""
    if package() is not None:
        return lent_maps(editor, instances, method, target)
    return attribute(editor, instances, method, target, told=tell)


@on_gpu("heatmaps")
def lent_maps(editor: LiveEdit, instances: Sequence[Instance], method: str, target: str) -> list[Attribution]:
    """The maps of ``instances``, where the GPU is lent."""
    return attribute(editor, instances, method, target)


def nearest(session: Session) -> list[ExpertTrace]:
    """The nearest edits of the last question that still are there."""
    if session.asked is None or not session.asked.trace.routed:
        return []
    return [row for row in nearest_experts(session.asked.trace) if row.expert_id in session.names]


def wanted(session: Session, target: str, method: str) -> dict[str, Instance]:
    """What is to be explained for the last question, by the keys of its maps: first the question, then each edit.

    An edit's own feature depends on the edit alone, everything else on the question or on which edits are on.
    """
    asked = session.asked
    if asked is None or asked.query.image is None or not asked.trace.routed:
        return {}
    found = {}
    base, edited = (None, None) if session.outdated else (asked.base, asked.edited)
    own = question_instance(asked.query, target, session.repository, base, edited)
    if own is not None:
        found[key_of(session, target, method, QUESTION)] = own
    ids = [row.expert_id for row in nearest(session)]
    for expert_id, instance in expert_instances(asked.query, target, session.repository, ids).items():
        found[key_of(session, target, method, expert_id)] = instance
    return found


def work_key(session: Session, target: str, method: str) -> str:
    """What tells the maps of one question and choice from those of another."""
    return key_of(session, target, method, QUESTION)


def still_true(session: Session, maps: Maps) -> dict[str, Attribution]:
    """The maps that may be wanted again: of edits that are there, and of the question asked last."""
    last = f"/{_question(session)}"
    return {
        key: one
        for key, one in maps.items()
        if key.endswith(last) or (key.endswith("/") and key.split("/")[0] in session.names)
    }


def key_of(session: Session, target: str, method: str, subject: str) -> str:
    """The key of a map: of the question, or of an edit by its id."""
    own = subject != QUESTION and target == "feature"
    return f"{subject}/{target}/{method}/{'' if own else _question(session)}"


def _question(session: Session) -> str:
    """A short name of the last question and of the edits there are now."""
    asked = session.asked
    if asked is None or asked.query.image is None:
        return "none"
    picture = zlib.crc32(asked.query.image.tobytes())
    return f"{picture:08x}{zlib.crc32(asked.query.prompt.encode()):08x}{edits_digest(session.repository)}"


def refusal_html(error: LiveEditError) -> str:
    """What stands in the heatmaps' place, or before those that are there, where one cannot be found."""
    return f'<p class="hint" role="status">{escape(sentence(str(error)))}</p>'


def pending_html(session: Session) -> str:
    """What stands in the heatmaps' place while they are made."""
    routed = session.asked is not None and session.asked.trace.routed
    return '<p class="hint">Finding the regions that mattered…</p>' if routed else EMPTY


def heatmaps_html(session: Session, maps: Maps, target: str, method: str) -> str:
    """The question's picture and the nearest edits' with their maps, those that are there."""
    what, how = target_named(target), method_named(method)
    if not fits(method, target):
        others = ", ".join(one.label for name, one in METHODS.items() if fits(name, target))
        return (
            '<p class="hint" role="status">Noise on tokens runs the feature extractor alone, which knows no answers. '
            f"Choose one of: {escape(others)}.</p>"
        )
    keys = wanted(session, target, method)
    asked = session.asked
    if asked is None or asked.query.image is None or not keys:
        return EMPTY
    cards = []
    own = maps.get(key_of(session, target, method, QUESTION))
    kind, words = "heatmap asked", shorten(asked.query.prompt, 70)
    if target != "margin":
        cards.append(_card(asked.query.image, own, "Your question", words, what.label, kind))
    for row in nearest(session):
        edit = session.repository.get(row.expert_id).edit
        fate = f"weight {number(row.weight)}" if row.passed else f"stopped by {distance(row.margin)}"
        text = f"{shorten(edit.prompt, 44)} → {shorten(edit.target, 28)}"
        over = target == "margin"
        found = maps.get(key_of(session, target, method, row.expert_id))
        corner = session.thumbnails[row.expert_id] if over else ""
        cards.append(
            _card(
                asked.query.image if over else edit.image,
                found,
                f"{session.name(row.expert_id)}, {fate}",
                text,
                what.label,
                "heatmap",
                corner,
            )
        )
    where = (
        "Each map lies over your question's picture, with the edit's own in the corner."
        if target == "margin"
        else "Each edit shows its own picture."
    )
    return (
        f'<p class="hint">{escape(what.label)}: {escape(what.help)}. {escape(how.label)}: {escape(how.help)}. '
        f'Your question and the three nearest edits. {where}</p><div class="heatmaps">{"".join(cards)}</div>{LEGEND}'
    )


def _card(
    picture: Image, found: Attribution | None, title: str, text: str, what: str, kind: str, corner: str = ""
) -> str:
    if found is None:
        shown = thumbnail(data_uri(picture.resize((SIDE, SIDE)), SIDE), f"The picture of {title}", "plain")
        note = "no map yet"
    else:
        alt = f"Heatmap ({what.lower()}) of {title}: yellow where it mattered most"
        shown = thumbnail(data_uri(heatmap_picture(picture, found.heatmap, found.region), SIDE), alt, kind)
        note = note_of(found).replace("\n", ", ")
    inset = thumbnail(corner, "", "corner") if corner else ""
    return (
        f'<figure><div class="shown">{shown}{inset}</div><figcaption><b>{escape(title)}</b><span>{escape(text)}</span>'
        f'<span class="made">{escape(note)}</span></figcaption></figure>'
    )
