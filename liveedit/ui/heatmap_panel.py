"""Where the model looked: heatmaps of the question and of the nearest edits, by any method and for any target.

Maps are found after each answer and whenever another method or target is chosen. Those of noise on tokens come
together and at once. The others take seconds each, so every map is a step of its own in the queue: other people's
questions go in between, and the rest can be stopped. What was found is kept beside the session, by what it
belongs to, so a step that ends late can never show another question's maps nor change the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL.Image import Image

from liveedit.attribution import METHODS, TARGETS, Attribution, Instance, attribute, default_method, fits, note_of
from liveedit.attribution.methods import method_named
from liveedit.attribution.targets import target_named
from liveedit.editors import LiveEdit
from liveedit.types import LiveEditError
from liveedit.ui.figures import heatmap_picture
from liveedit.ui.heatmap_keys import QUESTION, Maps, key_of, nearest, still_true, wanted, work_key
from liveedit.ui.markup import block, distance, escape, number, shorten, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu, package
from liveedit.ui.wiring import PROGRESS, QUICK, Updates, Wiring, told

SIDE = 320
EMPTY = '<p class="empty">Ask about a picture under at least one edit.</p>'
LEGEND = (
    '<p class="legend"><span>mattered less</span><span class="ramp" aria-hidden="true"></span>'
    "<span>mattered more</span></p>"
)


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
    # The rest was not wanted then; whoever asks again wants it again.
    wiring.shows(stopped, lambda _session: "")
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
        ended = stopped == work_key(state, target, method)
        if not missing or not fits(method, target) or ended:
            shown = heatmaps_html(state, maps, target, method, ended)
            return {panel.heatmaps: shown, panel.stop: gr.Button(visible=False)}
        # Noise on tokens takes all pictures at once; of the others, each is a step.
        part = missing if method == "tokens" else dict([next(iter(missing.items()))])

        def tell(done: int, total: int) -> None:
            progress((done, total), desc="Finding the regions that mattered", unit="pictures")

        found = _found_or_why(editor, part, method, target, tell)
        kept = {**still_true(state, maps), **found}
        updates = {panel.maps: kept, panel.heatmaps: heatmaps_html(state, kept, target, method)}
        if len(found) == len(missing):
            return {**updates, panel.stop: gr.Button(visible=False)}
        return {**updates, panel.stop: gr.Button(visible=True), panel.more: more + 1}

    return on_step


def _found_or_why(
    editor: LiveEdit,
    part: Mapping[str, Instance],
    method: str,
    target: str,
    tell: Callable[[int, int], None],
) -> dict[str, Attribution | str]:
    """The maps of ``part`` by their keys, or why there is none; a picture that cannot be explained hinders no other."""
    try:
        return dict(zip(part, _found_maps(editor, list(part.values()), method, target, tell), strict=True))
    except LiveEditError as error:
        if len(part) == 1:
            return dict.fromkeys(part, str(error))
    alone = (_found_or_why(editor, {key: one}, method, target, tell) for key, one in part.items())
    return {key: found for each in alone for key, found in each.items()}


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


def pending_html(session: Session) -> str:
    """What stands in the heatmaps' place while they are made."""
    routed = session.asked is not None and session.asked.trace.routed
    return '<p class="hint">Finding the regions that mattered…</p>' if routed else EMPTY


def misfit(target: str, method: str) -> str:
    """Why this method cannot explain this target, in sentences; empty where it can."""
    if fits(method, target):
        return ""
    others = ", ".join(one.label for name, one in METHODS.items() if fits(name, target))
    return (
        f"{method_named(method).label} runs the feature extractor alone, which knows no answers. Choose one of: {others}."
    )


def note_in(maps: Maps, key: str, ended: bool) -> str:
    """How a map was made, in a few lines, or why there is none; ``ended`` when those that lack are not looked for."""
    found = maps.get(key)
    if found is None:
        return "no map: stopped" if ended else "no map yet"
    return f"no map: {found}" if isinstance(found, str) else note_of(found)


def heatmaps_html(session: Session, maps: Maps, target: str, method: str, ended: bool = False) -> str:
    """The question's picture and the nearest edits' with their maps, or why there is none: see :func:`note_in`."""
    what, how = target_named(target), method_named(method)
    unfit = misfit(target, method)
    if unfit:
        return f'<p class="hint" role="status">{escape(unfit)}</p>'
    keys = wanted(session, target, method)
    asked = session.asked
    if asked is None or asked.query.image is None or not keys:
        return EMPTY

    def card(subject: str, picture: Image, title: str, text: str, kind: str, corner: str = "") -> str:
        key = key_of(session, target, method, subject)
        note = note_in(maps, key, ended).replace("\n", ", ")
        return _card(picture, maps.get(key), title, text, what.label, note, kind, corner)

    cards = []
    if target != "margin":
        words = shorten(asked.query.prompt, 70)
        cards.append(card(QUESTION, asked.query.image, "Your question", words, "heatmap asked"))
    for row in nearest(session):
        edit = session.repository.get(row.expert_id).edit
        fate = f"weight {number(row.weight)}" if row.passed else f"stopped by {distance(row.margin)}"
        text = f"{shorten(edit.prompt, 44)} → {shorten(edit.target, 28)}"
        over = target == "margin"
        corner = session.thumbnails[row.expert_id] if over else ""
        picture = asked.query.image if over else edit.image
        cards.append(card(row.expert_id, picture, f"{session.name(row.expert_id)}, {fate}", text, "heatmap", corner))
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
    picture: Image, found: Attribution | str | None, title: str, text: str, what: str, note: str, kind: str, corner: str
) -> str:
    if isinstance(found, Attribution):
        alt = f"Heatmap ({what.lower()}) of {title}: yellow where it mattered most"
        shown = thumbnail(data_uri(heatmap_picture(picture, found.heatmap, found.region), SIDE), alt, kind)
    else:
        shown = thumbnail(data_uri(picture.resize((SIDE, SIDE)), SIDE), f"The picture of {title}", "plain")
    inset = thumbnail(corner, "", "corner") if corner else ""
    return (
        f'<figure><div class="shown">{shown}{inset}</div><figcaption><b>{escape(title)}</b><span>{escape(text)}</span>'
        f'<span class="made">{escape(note)}</span></figcaption></figure>'
    )
