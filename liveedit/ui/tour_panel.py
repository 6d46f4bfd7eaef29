"""A guided tour in five clicks, with the shipped examples: each step does something and says what to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import gradio as gr
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.photographs import cropped, relit
from liveedit.pictures import open_picture
from liveedit.types import Edit, InputError
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import AskPanel, suggestions_html
from liveedit.ui.edit_panel import EditPanel
from liveedit.ui.markup import block, escape
from liveedit.ui.session import Session
from liveedit.ui.wiring import PROGRESS, Updates, Wiring, clicked, told

PROMPT, TARGET = "What is this?", "banana"
EDITED, NEIGHBOUR = "Penguin", "Fox"
MANY = (("Flag of Japan", "pillow"), ("Guitar", "ladder"), ("Pizza", "drum"), ("Sunflower", "clock"))


@dataclass(frozen=True)
class Step:
    """One step: its name, the picture it shows, the question it asks, and what to look at."""

    name: str
    example: str
    prompt: str
    look: str
    altered: bool = False


STEPS = (
    Step("Edit", EDITED, PROMPT,
         "The penguin now is a “banana”. Look at both answers under Ask: the left one is the model as it was, the right one "
         "has your edit. Point at a word to see how probable it was before and after."),
    Step("Reword", EDITED, "Tell me what this is.",
         "The same picture, asked in other words. The edit still answers, because it was not learned by heart: under Why you "
         "see that it passed, and how well the prompts match."),
    Step("Another picture", EDITED, PROMPT,
         "The same penguin, cropped and in another light. Look at the margin under Why: the visual similarity is still above "
         "the threshold, so the edit passes.", altered=True),
    Step("A neighbour", NEIGHBOUR, PROMPT,
         "The same question on a fox. The edit must leave it alone: both answers are the same, and Why says by how much the "
         "edit was stopped."),
    Step("Many edits", EDITED, PROMPT,
         "Four more edits were added at once, on other pictures. Asked about the penguin, only its own edit should pass. "
         "Their order does not matter; switch them off and on under Your edits."),
)  # fmt: skip


def build_tour_panel() -> gr.HTML:
    """The five buttons in one line."""
    return block(tour_html(None), clicks=True, elem_id="tour")


def wire_tour_panel(
    wiring: Wiring, tour: gr.HTML, picture: gr.Image, ask: AskPanel, edit: EditPanel
) -> None:
    """Each button shows its picture, makes the edits it needs, asks its question, and says what to look at."""
    examples = {example.title: example for example in wiring.examples}

    @told
    def on_step(state: Session, event: gr.EventData, progress: gr.Progress = PROGRESS) -> Updates:
        item = clicked(event)[1]
        if not item.isdecimal() or int(item) >= len(STEPS):
            raise InputError("there is no such step: reload the page")
        number = int(item)
        progress(0.1, desc=STEPS[number].name)
        there = take_step(wiring.editor, state, number, lambda title: open_picture(wiring.assets / examples[title].file))
        wiring.visits.admit(state, there)
        step = STEPS[number]
        return {
            **wiring.view(there),
            tour: tour_html(number),
            picture: there.picture,
            ask.question: step.prompt,
            ask.suggestions: suggestions_html(examples[step.example].questions),
            edit.prompt: PROMPT,
            edit.target: TARGET,
        }

    stepped = tour.click(
        on_step, wiring.session,
        [*wiring.shown, tour, picture, ask.question, ask.suggestions, edit.prompt, edit.target],
        **wiring.queued(show_progress_on=ask.answers),
    )  # fmt: skip
    wiring.and_then(stepped)


def take_step(editor: LiveEdit, session: Session, number: int, open_example: Callable[[str], Image]) -> Session:
    """The session after a step; what earlier steps would have made and is missing is made first."""
    step = STEPS[number]
    wanted = [Edit(open_example(EDITED), PROMPT, TARGET)]
    if step is STEPS[-1]:
        wanted += [Edit(open_example(title), PROMPT, target) for title, target in MANY]
    have = {_facts(e.edit) for e in session.repository if e.active}
    missing = [edit for edit in wanted if _facts(edit) not in have]
    image = open_example(step.example)
    if step is STEPS[0] and missing:
        return actions.apply_edit(editor, actions.show(session, image), PROMPT, TARGET)
    if missing:
        session = actions.apply_many(editor, session, missing)
    if step.altered:
        image = relit(cropped(image, Random(3)), Random(5))
    session = actions.show(session, image)
    *_, last = actions.ask(editor, session, step.prompt)
    assert isinstance(last, Session)
    return last


def _facts(edit: Edit) -> tuple[str, str, bytes]:
    return edit.prompt, edit.target, edit.image.tobytes()


def tour_html(current: int | None) -> str:
    """The steps, and what to look at after the one just taken."""
    buttons = "".join(
        f'<li><button type="button" data-action="step" data-item="{i}"{_current(i == current)}>'
        f"<span>{i + 1}</span> {escape(step.name)}</button></li>"
        for i, step in enumerate(STEPS)
    )
    look = (
        f'<p class="look" role="status"><b>{escape(STEPS[current].name)}.</b> {escape(STEPS[current].look)}</p>'
        if current is not None
        else ""
    )
    return (
        f'<nav class="tour" aria-label="Guided tour"><b>New here?</b> Five clicks show what editing does:<ol>{buttons}</ol>'
        f"</nav>{look}"
    )


def _current(here: bool) -> str:
    return ' aria-current="step"' if here else ""
