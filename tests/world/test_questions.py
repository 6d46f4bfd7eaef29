"""Questions and answers: true, clear, and worded differently in training and evaluation."""

from __future__ import annotations

from random import Random

import pytest

from liveedit.types import WorldError
from liveedit.world import questions as q
from liveedit.world.catalogue import by_name, glyphs
from liveedit.world.questions import answer_of, ask, kinds_for
from liveedit.world.scenes import LAYOUTS, Ground, Placed, Scene


def scene(*things: tuple[str, str], ground: str = "blue") -> Scene:
    """Make a scene of (name, slot) pairs."""
    objects = tuple(Placed(by_name()[name].index, 0.5, 0.5, 0.4, 0.0, False, slot) for name, slot in things)
    return Scene(objects, Ground("plain", ground, 1), 1.0, 0.0, 1)


def random_scene(rng: Random) -> Scene:
    layout = rng.choice(LAYOUTS[rng.randint(1, 4)])
    pool = [g for g in glyphs() if g.category == rng.choice(("animal", "flag", "fruit"))] or glyphs()
    names = [rng.choice(pool if rng.random() < 0.4 else glyphs()).name for _ in layout]
    return scene(*((name, cell.slot) for name, cell in zip(names, layout, strict=True)))


def test_every_kind_has_enough_wordings_and_keeps_its_last_ones_for_evaluation():
    for kind in q.KINDS:
        table = q.wordings(kind)
        train, held = q.wording_range(kind, "train"), q.wording_range(kind, "eval")
        assert len(table) >= (6 if kind == "copy further" else 14), kind
        assert len(held) >= (5 if kind.startswith("copy") else 3), kind
        assert (train.stop, held.stop) == (held.start, len(table))
        assert len(set(table)) == len(table), kind
        trained = {table[i].lower().strip("?. ") for i in train}
        assert not any(table[i].lower().strip("?. ") in trained for i in held), kind


def test_prompts_of_different_kinds_never_collide():
    rng, seen = Random(1), {}
    for _ in range(1500):
        found = random_scene(rng)
        for split in ("train", "eval"):
            asked = [ask(found, kind, subject, rng, split) for kind, subject in kinds_for(found)]
            asked += [q.ask_text(rng, split) for _ in range(4)]
            asked += [q.photo_question("dog", rng, split), q.ask_copy(rng, ["cat", "paris"], split)]
            if split == "eval":
                asked.append(q.ask_copy(rng, ["cat", "paris"], split, "copy further"))
            for question in asked:
                key = question.prompt.lower().strip("?. ")
                assert seen.setdefault(key, (question.kind, split)) == (question.kind, split), key
                assert "{" not in question.prompt
                assert question.answer


def test_no_picture_prompt_has_two_answers_in_one_scene():
    rng = Random(2)
    for _ in range(300):
        found, answers = random_scene(rng), {}
        for kind, subject in kinds_for(found):
            for _ in range(3):
                question = ask(found, kind, subject, rng)
                assert answers.setdefault(question.prompt, question.answer) == question.answer


def test_answers_on_a_hand_made_scene():
    found = scene(("cat", "left"), ("bus", "right"))
    assert answer_of(found, "position", 0) == "cat"
    assert answer_of(found, "position", 1) == "bus"
    assert answer_of(found, "where", 1) == "right"
    assert answer_of(found, "count", None) == "two"
    assert answer_of(found, "count_category", 0) == "one"
    assert answer_of(found, "count_category", None) == "zero"
    assert answer_of(found, "ground", None) == "blue"
    assert answer_of(found, "category", 1) == "vehicle"
    assert answer_of(found, "fact:young", 0) == "kitten"
    assert answer_of(found, "describe", None) == "a cat on the left and a bus on the right"
    assert ("name", 0) not in kinds_for(found)


def test_single_things_and_flags():
    flag = scene(("flag of japan", "centre"))
    assert answer_of(flag, "describe", None) == "the flag of japan"
    assert answer_of(flag, "fact:capital", 0) == "tokyo"
    assert answer_of(flag, "fact:country", 0) == "japan"
    assert {("name", 0), ("category_name", 0), ("fact:currency", 0)} <= set(kinds_for(flag))
    prompts = {ask(flag, "category_name", 0, Random(seed), wording=2).prompt for seed in range(40)}
    assert "Which flag is this?" in prompts
    assert len(prompts) > 5, "training wordings come in many frames"
    assert all("which flag is this" in prompt.lower() for prompt in prompts)
    capitals = {ask(flag, "fact:capital", 0, Random(seed), wording=0).prompt for seed in range(10)}
    assert "What is the capital of this country?" in capitals
    assert answer_of(scene(("octopus", "centre")), "describe", None) == "an octopus"
    assert answer_of(scene(("unicorn", "centre")), "describe", None) == "a unicorn"
    assert answer_of(scene(("grapes", "centre")), "describe", None) == "grapes"


def test_captions_follow_the_reading_order():
    found = scene(("cat", "bottom"), ("red apple", "top right"), ("owl", "top left"))
    caption = "an owl in the top left, a red apple in the top right and a cat at the bottom"
    assert answer_of(found, "describe", None) == caption


def test_unclear_questions_are_never_asked():
    cats = kinds_for(scene(("cat", "left"), ("cat", "right")))
    assert not {("where", 0), ("where", 1), ("colour", 0), ("category_name", 0)} & set(cats)
    assert ("position", 0) in cats
    # "The star" also fits a shooting star, but not the other way round.
    mixed = kinds_for(scene(("star", "left"), ("shooting star", "right")))
    assert ("where", 0) not in mixed
    assert ("where", 1) in mixed
    # An owl is a bird, though its name does not say so.
    birds = kinds_for(scene(("bird", "left"), ("owl", "right")))
    assert ("where", 0) not in birds
    assert ("where", 1) in birds
    # A bird is an animal: how many animals is unclear.
    assert ("count_category", 0) not in kinds_for(scene(("cat", "left"), ("owl", "right")))
    # "On the left" also fits what is at the top left.
    slots = kinds_for(scene(("cat", "left"), ("bus", "top left")))
    assert ("position", 0) not in slots
    assert ("position", 1) in slots


def test_things_asked_after_in_vain_are_not_there():
    rng, found = Random(3), scene(("owl", "left"), ("shooting star", "right"))
    for _ in range(500):
        prompt = ask(found, "exists", None, rng).prompt.lower()
        assert " bird?" not in prompt
        assert " a star?" not in prompt
        assert "owl" not in prompt.split()


def test_exists_is_balanced():
    rng = Random(4)
    drawn = [q.sample_questions(random_scene(rng), rng, 6) for _ in range(1500)]
    asked = [x for some in drawn for x in some if x.kind == "exists"]
    share = sum(x.answer == "yes" for x in asked) / len(asked)
    assert 0.4 < share < 0.6


def test_samples_are_true_and_belong_to_their_split():
    rng = Random(5)
    for split in ("train", "eval"):
        for _ in range(200):
            found = random_scene(rng)
            asked = q.sample_questions(found, rng, 6, split)
            assert len(asked) == 6
            for question in asked:
                assert question.wording in q.wording_range(question.kind, split)
                assert (question.kind, question.subject) in kinds_for(found)
                assert question.answer == answer_of(found, question.kind, question.subject)


def test_copy_answers_stand_in_the_prompt():
    rng, words = Random(6), q.common_words()
    for split in ("train", "eval"):
        for _ in range(500):
            question = q.ask_copy(rng, words, split)
            assert question.answer in question.prompt
            assert 1 <= len(question.answer.split()) <= 5
        if split == "train":
            composed = [q.ask_copy(rng, words, split) for _ in range(200)]
            assert 100 < sum(question.wording == -1 for question in composed) < 190
            assert len({question.prompt for question in composed}) == 200
    assert q.wording_count("copy", "train") + q.wording_count("copy", "eval") >= 20


def test_photographs():
    rng = Random(7)
    asked = [q.photo_question("horse", rng) for _ in range(300)]
    assert {x.answer for x in asked} == {"horse", "animal"}
    assert all("animal" in x.prompt for x in asked if x.kind == "photo category")
    assert q.photo_question("some new thing", rng).answer == "some new thing"


def test_words_and_corpus():
    words = q.common_words()
    assert len(words) >= 1200
    assert len(set(words)) == len(words)
    assert {str(i) for i in range(101)} <= set(words)
    assert len(list(q.corpus(Random(8), 50))) == 50


def test_impossible_requests_are_refused():
    rng, flag = Random(9), scene(("flag of japan", "centre"))
    for kind, subject in (("fact:young", 0), ("name", 3), ("name", None), ("copy", None), ("nonsense", 0)):
        with pytest.raises(WorldError):
            ask(flag, kind, subject, rng)
    with pytest.raises(WorldError):
        ask(flag, "name", 0, rng, "eval", wording=0)
    with pytest.raises(WorldError):
        ask(flag, "name", 0, rng, "test")
    plain = next(g for g in glyphs() if g.colour is None)
    with pytest.raises(WorldError):
        answer_of(scene((plain.name, "centre")), "colour", 0)
