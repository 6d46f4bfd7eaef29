"""Twenty people at once on the page: nobody meets another's edits, no edit is lost, nothing fails, memory stays flat.

    python benchmarks/load.py --out docs/results/load.json

Starts the real program and lets each person upload a picture, apply edits of their own, and ask; all at the same time, over
HTTP as a browser would (:mod:`page_client`). Everything the page shows a person is compared with what this script gets from the
library with that person's edits alone: both answers of every question, and the list of edits. Then the same once more, by new
visitors, to see whether memory grows.
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
FLAT = 60.0  # megabytes that the second round may add
AFTER = 70.0  # seconds; once a minute the page gives freed memory back


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
        self.error = ""

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
        """The visit; what goes wrong is kept."""
        try:
            visitor = Visitor(address)
            together.wait()
            visitor.picture(self.picture.name, self.picture.read_bytes())
            for part, (prompt, target) in zip(self.halves(), self.edits, strict=True):
                visitor.edit(prompt, target)
                for question in part:
                    began = time.perf_counter()
                    self.seen.append(visitor.ask(question))
                    self.seconds.append(time.perf_counter() - began)
            self.kept = visitor.targets()
            visitor.close()
        except (Refused, OSError, RuntimeError, LookupError, ValueError) as error:
            self.error = f"{type(error).__name__}: {error}"[:300]


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
        "errors": [p.error for p in people if p.error],
        "seconds": time.perf_counter() - began,
        "median_seconds_per_question": statistics.median(seconds) if seconds else None,
        "slowest_question": max(seconds, default=None),
    }


def main() -> int:
    """Run both rounds, print and write; exit code 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--questions", type=int, default=5, help="of each person in each of both rounds (default: 5)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    editor = LiveEdit.from_pretrained(
        ROOT / "checkpoints" / "emoji-llava-liveedit", load_backbone(ROOT / "checkpoints" / "emoji-llava", device="cpu")
    )
    rounds, used = [], []
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (address, process):
        warm = Visitor(address)
        warm.ask("What is this?")
        warm.close()
        used.append(memory(process)[0])
        for _ in range(2):
            people = [Person(number, options.questions) for number in range(options.people)]
            for person in people:
                person.expect(editor)
            rounds.append(visit_all(address, people))
            time.sleep(AFTER)
            used.append(memory(process)[0])
        peak = memory(process)[1]
        traces = (Path(folder) / "server.log").read_text().count("Traceback")
    failed = any(r["wrong_answers"] or r["lost_or_foreign_edits"] or r["errors"] for r in rounds) or traces > 0
    growth = used[2] - used[1]
    figures = {"rounds": rounds, "resident_mb": {"before": used[0], "after_first": used[1], "after_second": used[2], "peak": peak},
               "growth_mb": growth, "allowed_growth_mb": FLAT, "tracebacks": traces}  # fmt: skip
    print(f"{'':28s}{'first':>10s}{'second':>10s}")
    for name in rounds[0]:
        shown = [len(v) if isinstance(v := r[name], list) else f"{v:.1f}" if isinstance(v, float) else v for r in rounds]
        print(f"{name:28s}{shown[0]!s:>10s}{shown[1]!s:>10s}")
    print(f"memory {used[0]:.0f} MB before, {used[1]:.0f} and {used[2]:.0f} after the rounds, {peak:.0f} at most; {traces} tracebacks")
    for problem in [w for r in rounds for w in (*r["wrong_answers"], *r["errors"], *r["lost_or_foreign_edits"])][:10]:
        print(problem)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return int(failed or growth > FLAT or peak > 1500)


if __name__ == "__main__":
    sys.exit(main())
