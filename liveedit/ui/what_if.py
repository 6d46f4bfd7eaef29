"""What if the margin were shifted, edits were left out, or the residual scaled: routed again from kept features.

The features of the last question are kept with its answers (:class:`liveedit.ui.session.Asked`), so routing again runs
neither the backbone nor the editor's modules; only an answer under these settings needs the model.
Nothing here changes the session.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, InputError, RoutingTrace
from liveedit.ui.markup import escape, number, quoted
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu

MAX_SHIFT, MAX_SCALE = 20.0, 4.0


@dataclass(frozen=True)
class WhatIf:
    """Settings to try: added to every margin, multiplied to every residual, and the edits left out by id."""

    margin_shift: float = 0.0
    scale: float = 1.0
    without: frozenset[str] = frozenset()

    @classmethod
    def checked(cls, margin_shift: object, scale: object, without: frozenset[str]) -> WhatIf:
        """From what a browser sent, which may be anything."""
        values = []
        for name, value, low, high in (
            ("margin", margin_shift, -MAX_SHIFT, MAX_SHIFT),
            ("scale", scale, 0.0, MAX_SCALE),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"the {name} to try is no number: type one from {low:g} to {high:g}")
            values.append(min(max(float(value), low), high))
        return cls(values[0], values[1], without)

    @property
    def real(self) -> bool:
        """Whether these are the settings that answers are made with."""
        return self == WhatIf()

    def told(self, session: Session) -> str:
        """The settings in words, as "margin +0.50, 1 edit left out"; empty for the real ones."""
        sign = "+" if self.margin_shift > 0 else ""
        names = [session.name(e.id) for e in session.repository if e.id in self.without]
        left_out = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return ", ".join(
            [
                *([f"margin {sign}{number(self.margin_shift)}"] if self.margin_shift else []),
                *([f"residual × {number(self.scale)}"] if self.scale != 1.0 else []),
                *([f"without {left_out}"] if names else []),
            ]
        )


def altered(repository: ExpertRepository, what_if: WhatIf) -> ExpertRepository:
    """A repository with the settings applied; the tensors are shared, the given one is untouched."""
    experts = [
        replace(e, active=e.active and e.id not in what_if.without, scale=e.scale * what_if.scale) for e in repository
    ]
    return ExpertRepository(repository.config, experts, repository.made_by)


@on_gpu("route")
def routed(editor: LiveEdit, session: Session, what_if: WhatIf) -> RoutingTrace | None:
    """The trace of the last question under these settings; None without a question."""
    asked = session.asked
    if asked is None:
        return None
    if what_if.real or asked.features is None or not len(session.repository):
        return asked.trace
    return editor.route_features(altered(session.repository, what_if), asked.features, what_if.margin_shift)


@on_gpu("ask")
def answered(editor: LiveEdit, session: Session, what_if: WhatIf) -> Answer:
    """What the model would say to the last question under these settings."""
    if session.asked is None:
        raise InputError("there is no question to answer: ask one first")
    return editor.answer(altered(session.repository, what_if), session.asked.query, margin_shift=what_if.margin_shift)


def what_if_html(session: Session, what_if: WhatIf, trace: RoutingTrace | None, answer: Answer | None) -> str:
    """The banner that marks a what-if, with what it would change and the way back; empty while all is real."""
    told = what_if.told(session)
    if not told:
        return ""
    asked = session.asked
    if asked is None or asked.features is None or trace is None:
        said = "Ask a question with a picture, and it is routed with these settings."
    else:
        passed, really = len(trace.passed), asked.passed
        when = "really" if asked.past is None else "under the edits of then"
        said = f"{passed} of {len(trace.experts)} edits would pass; {when} {really} did."
    if answer is not None and asked is not None:
        same = answer.text == asked.edited.text
        if asked.past is not None:
            really_said = "as it did under the edits of then" if same else f"under the edits of then it said {quoted(asked.edited.text)}"
        else:
            really_said = "as it really does" if same else f"really it says {quoted(asked.edited.text)}"
        said += f" The model would answer {quoted(answer.text)}; {really_said}."
    chips = "".join(
        f'<button type="button" data-action="without" data-item="{escape(e.id)}">Put back {escape(session.name(e.id))}</button>'
        for e in session.repository
        if e.id in what_if.without
    )
    return (
        f'<div class="what-if-on"><p role="status"><b>What if: {escape(told)}.</b> {escape(said)}</p>'
        f'<div class="chips">{chips}<button type="button" class="real" data-action="real">Back to the real settings</button>'
        "</div></div>"
    )
