"""When two texts or two pictures count as the same, and which edits therefore cannot both be answered."""

from __future__ import annotations

from collections.abc import Collection

from PIL.Image import Image, Resampling

from liveedit.experts import Expert, ExpertRepository

GLANCE = (8, 8)  # pixels of a picture that are compared before all of them are


def same(left: str, right: str) -> bool:
    """Whether two texts say the same, apart from case, spaces and a final full stop."""
    return _plain(left) == _plain(right)


def same_picture(one: Image, other: Image) -> bool:
    """Whether two pictures are equal to the pixel."""
    return one is other or (one.size == other.size and one.tobytes() == other.tobytes())


def give_way(repository: ExpertRepository, made: Collection[str]) -> None:
    """Switch off the edits whose place those with the ids ``made``, the newest, take; of several of these the last stands.

    Two edits that ask the same of the same picture share the say: each answer is given in two of five cases, in the
    others neither (the study of conflicts in docs/results).
    """
    standing: dict[tuple[object, ...], list[Image]] = {}
    for expert in reversed([expert for expert in repository if expert.active]):
        picture = expert.edit.image
        glance = picture.resize(GLANCE, Resampling.NEAREST).tobytes()
        pictures = standing.setdefault((_plain(expert.edit.prompt), picture.size, glance), [])
        if any(same_picture(picture, other) for other in pictures):
            repository.set_active(expert.id, False)
        elif expert.id in made:
            pictures.append(picture)


def given_way(repository: ExpertRepository, expert_id: str) -> list[Expert]:
    """The edits that are switched off and ask the same of the same picture as this one."""
    edit = repository.get(expert_id).edit
    return [
        expert
        for expert in repository
        if not expert.active
        and expert.id != expert_id
        and same(expert.edit.prompt, edit.prompt)
        and same_picture(expert.edit.image, edit.image)
    ]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".").strip()
