"""When two texts or two pictures count as the same, and which edits therefore cannot both be answered."""

from __future__ import annotations

from collections.abc import Collection

from PIL.Image import Image, Resampling

from liveedit.experts.repository import Expert, ExpertRepository
from liveedit.experts.repository_file import STORED_SIDE

GLANCE = (8, 8)


def same(left: str, right: str) -> bool:
    """Whether two texts say the same, apart from case, spaces and a final full stop."""
    return _plain(left) == _plain(right)


def same_picture(one: Image, other: Image) -> bool:
    """Whether two pictures are equal to the pixel, or one is what a file of edits keeps of the other."""
    if one is other:
        return True
    if one.size != other.size:
        small, large = sorted((one, other), key=lambda picture: max(picture.size))
        if max(small.size) != STORED_SIDE:
            return False
        one, other = small, large.copy()
        other.thumbnail((STORED_SIDE, STORED_SIDE))
    # Nearly all pairs that differ do so in a few pixels already; reading all of a thousand large ones takes seconds.
    return one.size == other.size and _glance(one) == _glance(other) and one.tobytes() == other.tobytes()


def give_way(repository: ExpertRepository, made: Collection[str]) -> None:
    """Switch off the edits whose place those with the ids ``made``, the newest, take; of several of these the last stands.

    Two edits that ask the same of the same picture share the say: each answer is given in two of five cases, in the
    others neither (the study of conflicts in docs/results).
    """
    standing: dict[str, list[Image]] = {}
    for expert in reversed([expert for expert in repository if expert.active]):
        pictures = standing.setdefault(_plain(expert.edit.prompt), [])
        if any(same_picture(expert.edit.image, picture) for picture in pictures):
            repository.set_active(expert.id, False)
        elif expert.id in made:
            pictures.append(expert.edit.image)


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


def _glance(picture: Image) -> bytes:
    return picture.resize(GLANCE, Resampling.NEAREST).tobytes()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".").strip()
