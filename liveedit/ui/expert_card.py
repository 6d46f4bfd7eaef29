"""One edit in full: its picture, words and heatmap, and the gates between it and the last answer."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.attribution import Attribution, Instance, attribute, note_of
from liveedit.editors import LiveEdit
from liveedit.types import BackboneError, LiveEditError
from liveedit.ui.figures import heatmap_picture
from liveedit.ui.gates import Gate, gates, outcome
from liveedit.ui.markup import escape, sentence, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu

SIDE = 240
SIGNS = {True: ("open", "✓", "passed"), False: ("shut", "✕", "stopped"), None: ("unknown", "·", "not reached")}


@dataclass(frozen=True)
class CardMap:
    """A picture with its heatmap as a data URI, and how it was made; an empty URI where there is none, and why."""

    uri: str
    note: str


def card_html(session: Session, expert_id: str, heatmap: CardMap | None, without: bool, trying: bool = False) -> str:
    """The edit with its pictures, the gates it met in the real answer, and a button for the what-if.

    While a what-if is on (``trying``), whose numbers stand in the row, the card says that its own are the real ones.
    """
    edit, name = session.repository.get(expert_id).edit, session.name(expert_id)
    acted, said = outcome(session, expert_id)
    kind = {True: "took", False: "failed", None: ""}[acted]
    pictures = f"<figure>{thumbnail(data_uri(edit.image, SIDE), f'The picture of {name}', 'large')}<figcaption>Picture</figcaption></figure>"
    if heatmap is None:
        pictures += '<figure><div class="large waiting"></div><figcaption>Finding what mattered…</figcaption></figure>'
    elif not heatmap.uri:
        pictures += f'<figure><div class="large waiting"></div><figcaption>{escape(heatmap.note)}</figcaption></figure>'
    else:
        alt = f"Heatmap over the picture of {name}: yellow where it mattered most for the edit's visual feature"
        pictures += (
            f"<figure>{thumbnail(heatmap.uri, alt, 'large')}<figcaption>What mattered in it"
            f'<span class="made">{escape(heatmap.note)}</span></figcaption></figure>'
        )
    steps = "".join(_gate(gate) for gate in gates(session, expert_id))
    word = "Put back" if without else "Leave out"
    real = '<p class="hint">In the real answer, without what you are trying:</p>' if trying else ""
    return (
        f'<section class="card" aria-label="{escape(name)} in full"><div class="pictures">{pictures}</div>'
        f'<div class="words">{real}<p class="check {kind}" role="status">{escape(said)}</p>'
        f"<dl><dt>When asked</dt><dd>{escape(edit.prompt)}</dd><dt>It shall answer</dt><dd>{escape(edit.target)}</dd></dl>"
        f'<ol class="gates" aria-label="The gates between the edit and the answer">{steps}</ol>'
        f'<button type="button" class="quiet" data-action="without" data-item="{escape(expert_id)}" '
        f'aria-pressed="{str(without).lower()}">{word} in a what-if</button></div></section>'
    )


@on_gpu("heatmaps")
def edit_heatmap(editor: LiveEdit, session: Session, expert_id: str) -> CardMap:
    """The edit's picture with the regions that made its visual feature over it."""
    edit = session.repository.get(expert_id).edit
    try:
        found = _attributed(editor, Instance(edit.image, edit.prompt, "edit"))
    except LiveEditError as error:
        return CardMap("", sentence(str(error)))
    return CardMap(data_uri(heatmap_picture(edit.image, found.heatmap, found.region), SIDE), note_of(found).replace("\n", ", "))


def _attributed(editor: LiveEdit, instance: Instance) -> Attribution:
    """By noise on tokens or, where the model's tokens keep no place in this picture, by occlusion."""
    try:
        return attribute(editor, [instance])[0]
    except BackboneError:
        return attribute(editor, [instance], "occlusion")[0]


def _gate(gate: Gate) -> str:
    kind, sign, word = SIGNS[gate.open]
    return (
        f'<li class="{kind}"><span class="sign" aria-hidden="true">{sign}</span><b>{escape(gate.name)}</b> '
        f'<span class="word">({word})</span> {escape(gate.short)}</li>'
    )
