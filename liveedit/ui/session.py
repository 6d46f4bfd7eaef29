"""One person's state: their edits, the last question and what was learned about it.

A session is a plain value. Actions take one and return a changed copy, so that an action which fails
half-way leaves what the person had before; nothing in it refers to the model, so it can be deep-copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from PIL.Image import Image

from liveedit.editors import LiveEdit, QueryFeatures
from liveedit.editors.comparison import Comparison, ask_both, compare, stream_both
from liveedit.editors.streaming import Said
from liveedit.experts import ExpertRepository
from liveedit.experts.likeness import give_way, same_picture
from liveedit.types import Answer, Edit, InputError, Query, RoutingTrace
from liveedit.ui.history import Past, edits_digest, remember, shortened
from liveedit.ui.pictures import data_uri, open_upload
from liveedit.ui.spaces import on_gpu

THUMBNAIL = 96
BATCH = 16  # edits made at once when there are many


@dataclass(frozen=True)
class Asked:
    """The last question with both answers, token by token.

    ``trace`` covers every expert wherever there is a picture, also those that are switched off, even when
    the answer itself needed no routing; ``reason`` says in words why routing did not run, if so. ``edits`` is a
    digest of the edits that answered, ``features`` are the question's own, from which it can be routed again without
    the model (None without a picture or without edits). ``past`` is what was kept of a question that was reopened under
    other edits: its ``trace`` lists the experts alone that mattered most then and still are there.
    """

    query: Query
    comparison: Comparison
    trace: RoutingTrace
    reason: str
    edits: str
    features: QueryFeatures | None = None
    past: Past | None = None

    @property
    def count(self) -> int | None:
        """How many edits there were when it was asked; None where nobody knows any more."""
        if self.past is None:
            return len(self.trace.experts)
        return None if self.past.ids is None else len(self.past.ids)

    @property
    def passed(self) -> int:
        """How many edits passed hard routing, also those of which no more is known."""
        return len(self.trace.passed) if self.past is None else self.past.passed

    @property
    def base(self) -> Answer:
        """The unedited model's answer."""
        return self.comparison.base.answer

    @property
    def edited(self) -> Answer:
        """The answer with the edits."""
        return self.comparison.edited.answer


@dataclass(frozen=True)
class Pending:
    """A question that is being answered: both answers so far."""

    query: Query
    base: Said | None = None
    edited: Said | None = None


@dataclass(frozen=True)
class Place:
    """What else a session's file takes the place of: fields of :class:`Session`."""

    made: int
    picture: Image | None
    asked: Asked | None
    history: tuple[Past, ...]
    forgotten: int


@dataclass(frozen=True)
class Earlier:
    """The edits as they were before the last change to them, which ``change`` names; ``undone`` when that is undone now.

    ``place`` is given where the change was to open a session's file.
    """

    change: str
    repository: ExpertRepository
    names: dict[str, str]
    thumbnails: dict[str, str]
    undone: bool = False
    place: Place | None = None


@dataclass
class Session:
    """What belongs to one person.

    ``names`` and ``thumbnails`` (data URIs) are kept by edit id: neither ever changes, and a long list would be
    slow to draw otherwise. ``latest`` is the edit just applied, until something else happens; ``newest`` are the edits
    that were made last, one or many, whatever has happened since. ``forgotten`` counts the questions that are no longer in
    the ``history``.
    """

    repository: ExpertRepository
    names: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[str, str] = field(default_factory=dict)
    made: int = 0
    picture_path: str | None = None
    picture: Image | None = None
    asked: Asked | None = None
    latest: str | None = None
    newest: tuple[str, ...] = ()
    history: tuple[Past, ...] = ()
    forgotten: int = 0
    earlier: Earlier | None = None

    def copy(self) -> Session:
        """A copy whose edits can be added to, switched and removed without touching this one."""
        return replace(self, repository=self.repository.copy(), names=dict(self.names), thumbnails=dict(self.thumbnails))

    def before(self, change: str, undone: bool = False, whole: bool = False) -> Earlier:
        """What undoing ``change``, which is about to be made, brings back; ``whole`` where it is to all of the session."""
        place = Place(self.made, self.picture, self.asked, self.history, self.forgotten) if whole else None
        return Earlier(change, self.repository, self.names, self.thumbnails, undone, place)

    def name(self, expert_id: str) -> str:
        """The short name of an edit, "Edit 3", which it keeps when others are removed."""
        return self.names.get(expert_id, expert_id)

    @property
    def outdated(self) -> bool:
        """Whether the answers shown were given under other edits than there are now."""
        return self.asked is not None and self.asked.edits != edits_digest(self.repository)


def with_picture(session: Session, path: str | None) -> Session:
    """The session with the picture at ``path``, opened safely; the last answers go when the picture changes."""
    if path == session.picture_path and (path is None) == (session.picture is None):
        return session
    picture = open_upload(path) if path else None
    if picture is not None and session.picture is not None and same_picture(picture, session.picture):
        return replace(session.copy(), picture_path=path)
    return replace(session.copy(), picture_path=path, picture=picture, asked=None, latest=None)


def show(session: Session, image: Image) -> Session:
    """The session with another picture, which the page itself puts into its box."""
    return replace(session.copy(), picture=image, picture_path=None, asked=None, latest=None)


@on_gpu("ask")
def ask(editor: LiveEdit, session: Session, prompt: str) -> Iterator[Pending | Session]:
    """Ask about the session's picture (or about none): both answers as they come, and at last the new session."""
    query = Query(session.picture, prompt.strip())
    # What is refused is refused before anything is shown in place of the last answers.
    editor.backbone.check_prompt(query.prompt)
    base: Said | None = None
    edited: Said | None = None
    yield Pending(query)
    for base, edited in stream_both(editor, session.repository, query):
        yield Pending(query, base, edited)
    assert base is not None and edited is not None
    comparison = compare(editor, session.repository, query, base, edited)
    yield remembering(replace(session, asked=_asked(editor, session.repository, query, comparison), latest=None))


@on_gpu("edit")
def apply_edit(editor: LiveEdit, session: Session, prompt: str, target: str) -> Session:
    """Make an expert for the session's picture, and ask its prompt again to see whether it took.

    An edit of the same question on the same picture is switched off: a person who edits again corrects themselves.
    """
    if session.picture is None:
        raise InputError("an edit needs a picture: upload one or choose an example")
    changed = session.copy()
    edit = Edit(session.picture, prompt.strip(), target.strip())
    (expert_id,) = editor.edit(changed.repository, [edit])
    give_way(changed.repository, {expert_id})
    changed.made += 1
    changed.names[expert_id] = f"Edit {changed.made}"
    changed.thumbnails[expert_id] = data_uri(edit.image, THUMBNAIL)
    query = Query(edit.image, edit.prompt)
    changed.asked = _asked(editor, changed.repository, query, ask_both(editor, changed.repository, query))
    changed.latest, changed.newest = expert_id, (expert_id,)
    changed.earlier = session.before(f"{changed.names[expert_id]} added")
    return remembering(changed)


def apply_many(
    editor: LiveEdit, session: Session, edits: Sequence[Edit], progress: Callable[[int, int], None] | None = None
) -> Session:
    """Make experts for many edits, all or none of them, and answer the last question again."""
    changed, newest = session.copy(), []
    shown: dict[int, str] = {}
    for start in range(0, len(edits), BATCH):
        part = list(edits[start : start + BATCH])
        changed.repository = extended(editor, changed.repository, part)
        made = [expert.id for expert in changed.repository.experts[-len(part) :]]
        newest += made
        for expert_id, edit in zip(made, part, strict=True):
            changed.made += 1
            changed.names[expert_id] = f"Edit {changed.made}"
            # Rows of one file often share a picture.
            uri = shown.get(id(edit.image)) or data_uri(edit.image, THUMBNAIL)
            shown[id(edit.image)] = changed.thumbnails[expert_id] = uri
        if progress is not None:
            progress(start + len(part), len(edits))
    give_way(changed.repository, set(newest))
    changed.newest = tuple(newest)
    changed.earlier = session.before("1 edit added" if len(edits) == 1 else f"{len(edits)} edits added")
    return lent_again(editor, changed)


@on_gpu("edit")
def extended(editor: LiveEdit, repository: ExpertRepository, edits: list[Edit]) -> ExpertRepository:
    """The repository with experts for these edits at its end."""
    editor.edit(repository, edits)
    return repository


@on_gpu("ask")
def switch(editor: LiveEdit, session: Session, expert_id: str) -> Session:
    """Switch one edit on or off and answer the last question again."""
    changed = session.copy()
    active = not changed.repository.get(expert_id).active
    changed.repository.set_active(expert_id, active)
    changed.earlier = session.before(f"{session.name(expert_id)} switched {'on' if active else 'off'}")
    return again(editor, changed)


@on_gpu("ask")
def remove(editor: LiveEdit, session: Session, expert_id: str) -> Session:
    """Forget one edit and answer the last question again."""
    changed = session.copy()
    changed.repository.remove(expert_id)
    changed.earlier = session.before(f"{session.name(expert_id)} removed")
    changed.names.pop(expert_id, None)
    changed.thumbnails.pop(expert_id, None)
    return again(editor, changed)


@on_gpu("ask")
def undo(editor: LiveEdit, session: Session, _item: str = "") -> Session:
    """Take the last change to the edits back, or make it again when it has been; answer the last question again."""
    earlier = session.earlier
    if earlier is None:
        raise InputError("there is nothing to undo: no edit has been changed yet")
    back = session.before(earlier.change, not earlier.undone, earlier.place is not None)
    restored = replace(
        session, repository=earlier.repository, names=earlier.names, thumbnails=earlier.thumbnails, earlier=back
    ).copy()
    if earlier.place is not None:
        # A name is never given twice, not even to edits of different sessions: either may be brought back yet.
        fields = {**vars(earlier.place), "made": max(earlier.place.made, session.made)}
        restored = replace(restored, **fields, picture_path=None)
    return again(editor, restored)


@on_gpu("route")
def reopen(editor: LiveEdit, session: Session, number: int) -> Session:
    """Show question ``number`` of the history with its picture and both answers as they were.

    Under the same edits the trace is made anew, for every expert; under others it is what was kept of the old one,
    without the experts that are gone.
    """
    if not 0 <= number < len(session.history):
        raise InputError("this question is no longer kept: ask it again")
    past = session.history[number]
    query = past.query()
    features = _features(editor, session.repository, query)
    same = past.edits == edits_digest(session.repository)
    if same and past.trace.experts and features is not None:
        trace = editor.route_features(session.repository, features)
    else:
        trace = shortened(past.trace, set(session.names))
    asked = Asked(query, past.comparison, trace, past.reason, past.edits, features, None if same else past)
    return replace(session, picture=query.image, picture_path=None, asked=asked, latest=None)


def again(editor: LiveEdit, session: Session) -> Session:
    """The last question answered anew; the unedited answer cannot have changed."""
    session.latest = None
    if session.asked is not None:
        query = session.asked.query
        comparison = ask_both(editor, session.repository, query, session.asked.comparison.base)
        session.asked = _asked(editor, session.repository, query, comparison, session.asked.features)
    return session


@on_gpu("ask")
def lent_again(editor: LiveEdit, session: Session) -> Session:
    """:func:`again` for a caller that has borrowed no GPU itself."""
    return again(editor, session)


def _asked(
    editor: LiveEdit,
    repository: ExpertRepository,
    query: Query,
    comparison: Comparison,
    features: QueryFeatures | None = None,
) -> Asked:
    """Both answers to one question, with the trace of every expert; ``features`` if they are known already."""
    answer = comparison.edited.answer
    trace = answer.trace
    features = features if features is not None else _features(editor, repository, query)
    if not trace.routed and features is not None and len(repository):
        # All edits are off: the ledger still shows how they would have fared.
        trace = editor.route_features(repository, features)
    return Asked(query, comparison, trace, answer.trace.reason, edits_digest(repository), features)


def _features(editor: LiveEdit, repository: ExpertRepository, query: Query) -> QueryFeatures | None:
    """The question's routing features, where there is something to route by and to."""
    if query.image is None or not len(repository):
        return None
    return editor.query_features([query])[0]


def remembering(session: Session) -> Session:
    """The session with its last question, which was asked under the edits there are, in the history."""
    asked = session.asked
    if asked is None:
        return session
    history, dropped = remember(
        session.history, asked.query, asked.comparison, asked.trace, asked.reason, session.repository
    )
    return replace(session, history=history, forgotten=session.forgotten + dropped)
