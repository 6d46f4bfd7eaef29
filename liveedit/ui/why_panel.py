"""Why the model answered so, at a glance: a sentence, and the weights."""

from __future__ import annotations

from liveedit.ui.markup import block, escape, number
from liveedit.ui.session import Session
from liveedit.ui.wiring import Wiring
from liveedit.ui.wording import why

MOST_BARS = 8
HINT = (
    "Hard routing keeps an edit whose visual similarity to the question exceeds the threshold; "
    "soft routing then weighs the kept ones by how well the prompts match."
)


def build_why_panel(wiring: Wiring) -> None:
    """The summary and the bars."""
    block(f'<h2>Why</h2><p class="hint">{HINT}</p>')
    summary = block(summary_html(wiring.session.value), "why")
    weights = block(elem_id="weights")
    wiring.shows(summary, summary_html)
    wiring.shows(weights, weights_html)


def summary_html(session: Session) -> str:
    """What routing decided, in a sentence or two."""
    return f'<p class="summary" role="status">{escape(why(session))}</p>'


def weights_html(session: Session) -> str:
    """Bars of the final weights of the edits that passed, heaviest first, with their numbers."""
    asked = session.asked
    passed = asked.trace.passed if asked else ()
    most = max([1.0, *(row.weight for row in passed)])
    bars = "".join(
        f'<li><span class="who">{escape(session.name(row.expert_id))}</span>'
        f'<span class="bar" aria-hidden="true"><span style="width:{100 * row.weight / most:.1f}%"></span></span>'
        f"<b>{number(row.weight)}</b></li>"
        for row in passed[:MOST_BARS]
    )
    rest = asked.passed - len(passed[:MOST_BARS]) if asked else 0
    # Of a question that was asked under other edits some may be gone.
    below = "" if asked and asked.past else ", below"
    more = f'<p class="hint">and {rest} more{below}.</p>' if rest else ""
    return f'<h3>Weights after soft routing</h3><ol class="bars">{bars}</ol>{more}' if passed else ""
