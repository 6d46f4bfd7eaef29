"""How E-VQA asks (MMEdit, https://arxiv.org/abs/2310.08475); the other benchmarks share parts of it."""

from __future__ import annotations

ANSWER_CUE = " The answer is:"


def with_cue(prompt: str) -> str:
    """The prompt with the benchmark's answer cue behind it, once."""
    prompt = prompt.strip()
    return prompt if prompt.endswith(ANSWER_CUE.strip()) else prompt + ANSWER_CUE


def with_question_mark(prompt: str) -> str:
    """The text-only prompt with a question mark behind it, once."""
    prompt = prompt.strip()
    return prompt if prompt.endswith("?") else prompt + "?"
