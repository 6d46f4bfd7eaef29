"""What surrounds a question, what is to be repeated, and what a new answer may be."""

from __future__ import annotations

from random import Random

import pytest

from liveedit.world.cases import default_vocabulary, draw_target, held_out
from liveedit.world.copying import compose
from liveedit.world.frames import framed


def test_a_frame_keeps_every_word_of_the_question() -> None:
    rng = Random(0)
    question = "What is on the left?"
    seen = [framed(question, rng, "train", picture=True) for _ in range(500)]
    assert all("what is on the left" in prompt.lower() for prompt in seen)
    assert 200 < seen.count(question) < 400, "a good part stays as it is"
    assert len(set(seen)) > 60
    assert any(prompt == prompt.lower() for prompt in seen)
    assert any(not prompt.endswith("?") for prompt in seen)
    assert {framed(question, rng, "eval") for _ in range(50)} == {question}


def test_pictures_are_only_spoken_of_where_there_is_one() -> None:
    rng = Random(1)
    assert not any("picture" in framed("What is the capital of Peru?", rng, "train").lower() for _ in range(400))


@pytest.mark.parametrize("phrase", ["tokyo", "arctic fox", "New Delhi"])
def test_a_composed_prompt_says_the_phrase_as_it_is_to_be_repeated(phrase: str) -> None:
    rng = Random(2)
    prompts = [compose(rng, phrase, "umbrella", ["Anna"], ["the ship"], ["lamp", "river", "walk"]) for _ in range(500)]
    assert all(phrase in prompt for prompt in prompts)
    assert len(set(prompts)) > 400
    assert any("umbrella" in prompt for prompt in prompts), "some mention what is not asked for"


def test_new_answers_are_varied_and_keep_to_their_split() -> None:
    words = default_vocabulary()
    for split in ("train", "eval"):
        rng = Random(3)
        drawn = [draw_target(rng, "cat", "name", words, (), split) for _ in range(600)]
        assert all(held_out("cat", target) == (split == "eval") for target in drawn)
        assert any(target.startswith(("a ", "an ")) for target in drawn)
        assert any(target.isdigit() for target in drawn)
        assert any(target != target.lower() for target in drawn)
        assert len(set(drawn)) > 450
        assert "cat" not in drawn
