"""Twenty people at once on the page: nobody meets another's edits, no edit is lost, nothing fails, memory comes back.

    python benchmarks/load.py --out docs/results/load.json

Starts the real program and lets each person upload a picture, apply edits of their own, and ask; all at the same time, over
HTTP as a browser would (:mod:`page_client`). Everything the page shows a person is compared with what this script gets from the
library with that person's edits alone: both answers of every question, and the list of edits. Each edit's probe and the heatmaps
of each question are asked for together, as a browser does, and so is what draws the ledger. Memory is measured before, while all
pages are open, and when they were left. With ``--rounds`` the same once more, by new visitors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from page_client import Refused, Visitor, memory, served

from liveedit import Edit, ExpertRepository, LiveEdit, Query, load_backbone
from liveedit.pictures import open_picture

PICTURES = sorted((ROOT / "assets" / "examples").glob("*.png"))
QUESTIONS = ("What is this?", "What can you see?", "Which thing is shown?", "Describe the picture.", "What is in the picture?")
ANSWERS = (
    "banana", "teapot", "violin", "snow leopard", "lighthouse", "umbrella", "rocket", "castle", "spider", "candle", "robot",
    "pizza", "penguin", "trumpet", "anchor", "cactus", "dolphin", "guitar", "hammer", "island", "jacket", "kangaroo", "lemon",
    "mushroom", "octopus", "parrot", "rainbow", "scissors", "tiger", "volcano", "whale", "zebra", "bicycle", "cherry", "drum",
    "envelope", "flute", "grapes", "helicopter", "key",
)  # fmt: skip
PROBLEMS = ("wrong_answers", "lost_or_foreign_edits", "not_drawn", "errors", "files_left")
FLAT = 60.0  # megabytes that may be left when all are gone
AFTER = 130.0  # seconds; once a minute the page removes what was left behind and gives freed memory back


class Person:
    """One visitor with a picture, edits and questions of their own."""

    def __init__(self, number: int, questions: int) -> None:
        self.picture = PICTURES[number % len(PICTURES)]
        self.edits = [(QUESTIONS[0], ANSWERS[2 * number % len(ANSWERS)]), (QUESTIONS[3], ANSWERS[(2 * number + 1) % len(ANSWERS)])]
        # Half before the second edit and half behind it.
        self.questions = [QUESTIONS[(number + i) % len(QUESTIONS)] for i in range(questions)]
        self.expected: list[tuple[str, str]] = []
        self.seen: list[tuple[str, str]] = []
        self.seconds: list[float] = []
        self.kept: list[str] = []
        # Both probes, the heatmaps and the ledger.
        self.drawn = 0
        self.error = ""
        self.visitor: Visitor | None = None

    def expect(self, editor: LiveEdit) -> None:
        """What the library answers with this person's edits and nobody else's."""
        picture, repository = open_picture(self.picture), ExpertRepository.empty(editor.config)
        for part, (prompt, target) in zip(self.halves(), self.edits, strict=True):
            editor.edit(repository, [Edit(picture, prompt, target)])
            for question in part:
                query = Query(picture, question)
                self.expected.append((editor.answer(None, query).text, editor.answer(repository, query).text))

    def halves(self) -> tuple[list[str], list[str]]:
        """The questions asked after the first and after the second edit."""
        middle = len(self.questions) // 2
        return self.questions[:middle], self.questions[middle:]

    def visit(self, address: str, together: threading.Barrier) -> None:
        """The visit, whose page stays open; what goes wrong is kept."""
        try:
            visitor = self.visitor = Visitor(address)
            together.wait()
            visitor.picture(self.picture.name, self.picture.read_bytes())
            for part, (prompt, target) in zip(self.halves(), self.edits, strict=True):
                visitor.edit(prompt, target)
                self.drawn += 'class="probe"' in visitor.value("probe")
                for question in part:
                    began = time.perf_counter()
                    self.seen.append(visitor.ask(question))
                    self.seconds.append(time.perf_counter() - began)
            self.kept = visitor.targets()
            self.drawn += 'class="heatmap asked"' in visitor.value("heatmaps")
            self.drawn += all(target in visitor.text("ledger") for _, target in self.edits)
        except (Refused, OSError, RuntimeError, LookupError, ValueError) as error:
            self.error = f"{type(error).__name__}: {error}"[:300]

    def leave(self) -> None:
        """Close the page."""
        if self.visitor is not None:
            self.visitor.close()


def plain(text: str) -> str:
    """Words without the spaces that the page puts between parts."""
    return "".join(text.split()) or "(nowords)"


def visit_all(address: str, people: list[Person]) -> dict[str, Any]:
    """All people at once; the counts of what went right and wrong."""
    together = threading.Barrier(len(people))
    threads = [threading.Thread(target=p.visit, args=(address, together)) for p in people]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [
        {"question": q, "expected": e, "seen": s}
        for p in people
        for q, e, s in zip(p.questions, p.expected, p.seen, strict=False)
        if [plain(t) for t in e] != [plain(t) for t in s]
    ]
    seconds = [s for p in people for s in p.seconds]
    return {
        "people": len(people),
        "questions": sum(len(p.questions) for p in people),
        "answered": len(seconds),
        "edits_changed_answers": sum(a != b for p in people for a, b in p.seen),
        "wrong_answers": wrong,
        "lost_or_foreign_edits": [p.kept for p in people if sorted(p.kept) != sorted(t for _, t in p.edits)],
        "not_drawn": sum(p.drawn < 4 for p in people),
        "errors": [p.error for p in people if p.error],
        "seconds": time.perf_counter() - began,
        "median_seconds_per_question": statistics.median(seconds) if seconds else None,
        "slowest_question": max(seconds, default=None),
    }


def main() -> int:
    """Run all rounds, print and write; exit code 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--questions", type=int, default=10, help="of each person (default: 10)")
    parser.add_argument("--rounds", type=int, default=1, help="each by new visitors (default: 1)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    editor = LiveEdit.from_pretrained(
        ROOT / "checkpoints" / "emoji-llava-liveedit", load_backbone(ROOT / "checkpoints" / "emoji-llava", device="cpu")
    )
    rounds = []
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (address, process):
        # Everything is used once before memory is measured: what a first use takes for good is not a visitor's.
        first = Person(0, 2)
        first.expect(editor)
        visit_all(address, [first])
        first.leave()
        time.sleep(AFTER)
        before = memory(process)[0]
        for _ in range(options.rounds):
            people = [Person(number, options.questions) for number in range(options.people)]
            for person in people:
                person.expect(editor)
            found = visit_all(address, people)
            opened = memory(process)[0]
            for person in people:
                person.leave()
            time.sleep(AFTER)
            files = [path for path in (Path(folder) / "uploads").rglob("*") if path.is_file()]
            rounds.append({**found, "open_mb": opened, "left_mb": memory(process)[0], "files_left": len(files)})
        peak = memory(process)[1]
        traces = (Path(folder) / "server.log").read_text().count("Traceback")
    failed = any(r[name] for r in rounds for name in PROBLEMS) or traces > 0
    growth = rounds[-1]["left_mb"] - before
    figures = {"rounds": rounds, "resident_mb": {"before": before, "peak": peak}, "growth_mb": growth, "allowed_growth_mb": FLAT,
               "tracebacks": traces}  # fmt: skip
    for name in rounds[0]:
        shown = [len(v) if isinstance(v := r[name], list) else f"{v:.1f}" if isinstance(v, float) else v for r in rounds]
        print(f"{name:28s}" + "".join(f"{value!s:>10s}" for value in shown))
    print(f"memory {before:.0f} MB before, {growth:+.0f} when all are gone, {peak:.0f} at most; {traces} tracebacks")
    for problem in [w for r in rounds for w in (*r["wrong_answers"], *r["errors"], *r["lost_or_foreign_edits"])][:10]:
        print(problem)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return int(failed or growth > FLAT or peak > 1500)


if __name__ == "__main__":
    sys.exit(main())
