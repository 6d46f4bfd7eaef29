"""The tokenizer of the embedded backbone."""

from __future__ import annotations

from random import Random

from liveedit.training.architecture import ANSWER_CUE, build_tokenizer
from liveedit.world.questions import corpus


def test_a_quoted_word_is_the_token_it_is_elsewhere_and_the_cue_is_one() -> None:
    tokenizer = build_tokenizer(corpus(Random(0), 300), vocab_size=1200)
    tokenizer.add_tokens([" umbrella"])

    def tokens(text: str) -> list[str]:
        return [tokenizer.decode([i]) for i in tokenizer(text)["input_ids"]]

    assert " umbrella" in tokens('Say "umbrella" now.')
    assert " umbrella" in tokens("a thing (umbrella)")
    assert tokenizer.decode(tokenizer("what's it")["input_ids"]) == "what's it"
    assert tokens(f"What is this?{ANSWER_CUE}")[-1] == ANSWER_CUE
