"""The page's API: questions under edits that come with the call, since a program has no session here.

Each call carries its edits, as a list of {picture, prompt, answer} or as a file of experts, and leaves nothing behind.
Pictures are uploaded files or data URLs, under the checks of uploads; addresses are never fetched. Annotations are
evaluated here, not deferred: Gradio makes the documentation of the endpoints from them.
"""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Edit, InputError, Query
from liveedit.ui.markup import block
from liveedit.ui.pictures import open_upload
from liveedit.ui.room import Room
from liveedit.ui.scratch import named_only
from liveedit.ui.spaces import on_gpu
from liveedit.ui.wiring import Wiring, told

MAX_EDITS = 32
MAX_TOKENS = 64
# Below the server's limit of a request, which is not an upload.
MAX_DATA_URL = 6_000_000
DATA_URLS = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,")

Picture = str | dict[str, Any] | None
Edits = list[dict[str, Any]] | dict[str, Any] | None

EXAMPLE = """from gradio_client import Client, handle_file

client = Client("ADDRESS OF THIS PAGE")
picture = handle_file("fox.png")
edits = [{"picture": picture, "prompt": "What is this?", "answer": "arctic fox"}]
found = client.predict("What animal is it?", picture, edits, api_name="/ask")
print(found["base"], "->", found["answer"])"""


def add_api(wiring: Wiring) -> None:
    """Register the endpoints ``/ask`` and ``/route`` on the page that is being built, and explain them on it."""
    editor = wiring.editor

    def ask(question: str, picture: Picture = None, edits: Edits = None, max_new_tokens: int = 32) -> dict[str, Any]:
        """Ask a vision-language model a question about a picture, with corrections ("edits") in force.

        Parameters:
            question: the question, in words
            picture: an uploaded PNG, JPEG or WEBP, or a data URL of one; null for a question in words alone
            edits: a list of {"picture", "prompt", "answer"}: shown this picture and asked this prompt, the model shall give this answer; or an uploaded file of edits saved by this program; null for none
            max_new_tokens: the longest answer, in tokens, 1 to 64
        Returns:
            the edited answer, the unedited model's ("base"), the edits by id, and the trace of the routing
        """
        if not 1 <= int(max_new_tokens) <= MAX_TOKENS:
            raise InputError(f"max_new_tokens is {max_new_tokens}: give 1 to {MAX_TOKENS}")
        query = Query(None if picture is None else opened(picture), str(question))
        return _answered(editor, *given_edits(editor, edits), query, int(max_new_tokens))

    def route(question: str, picture: Picture, edits: Edits) -> dict[str, Any]:
        """Say which of the edits would take part in the answer to a question, and why, without answering it.

        Parameters:
            question: the question, in words
            picture: an uploaded PNG, JPEG or WEBP, or a data URL of one
            edits: a list of {"picture", "prompt", "answer"}, or an uploaded file of edits saved by this program
        Returns:
            the edits by id, and the trace: similarity, threshold, margin and weight of every edit
        """
        query = Query(None if picture is None else opened(picture), str(question))
        return _routed(editor, *given_edits(editor, edits), query)

    for endpoint in (ask, route):
        gr.api(told(endpoint, plain=True), api_name=endpoint.__name__, concurrency_limit=1, concurrency_id="model")
    with gr.Column(elem_id="api-panel"):
        block(_explained(), elem_id="api")


def _explained() -> str:
    code = EXAMPLE.translate({ord("<"): "&lt;", ord(">"): "&gt;", ord("{"): "&#123;", ord("}"): "&#125;"})
    return (
        '<h2>From a program</h2><details class="more"><summary>Ask and route over the API</summary>'
        '<p class="hint">Two endpoints take a question, a picture and the edits that shall be in force; nothing is '
        f"kept after the call. <code>/ask</code> answers, <code>/route</code> only says which edits would take part. At most {MAX_EDITS} "
        "edits come as a list; more come as the file that “python -m liveedit edit --edits FILE” makes. Pictures are "
        "uploaded files or data URLs; web addresses are not fetched. "
        "All details stand under “Use via API” at the foot of this page.</p>"
        f'<pre class="code" tabindex="0">{code}</pre></details>'
    )


def given_edits(editor: LiveEdit, edits: Edits) -> tuple[ExpertRepository, list[Edit]]:
    """A repository from an uploaded file of experts, and the edits of a list that are still to be made."""
    if edits is None:
        return editor.empty(), []
    if isinstance(edits, dict):
        path = _uploaded(edits)
        with named_only(path):
            return editor.load_state(path, Room.beside(editor.config).file), []
    if not isinstance(edits, list) or not all(isinstance(e, dict) for e in edits):
        raise InputError('the edits are no list: give [{"picture": ..., "prompt": ..., "answer": ...}]')
    if len(edits) > MAX_EDITS:
        raise InputError(f"{len(edits)} edits were given, the limit of a call is {MAX_EDITS}: give a file of edits")
    for number, edit in enumerate(edits, start=1):
        missing = [name for name in ("picture", "prompt", "answer") if not edit.get(name)]
        if missing or len(edit) > 3:
            raise InputError(f"edit {number} has to have picture, prompt and answer, and nothing else: correct it")
    return editor.empty(), [Edit(opened(e["picture"]), str(e["prompt"]), str(e["answer"])) for e in edits]


def opened(picture: str | dict[str, Any]) -> Image:
    """A picture from outside, opened under the checks of uploads; what is neither upload nor data URL is refused."""
    if isinstance(picture, dict):
        return open_upload(str(_uploaded(picture)))
    start = next((s for s in DATA_URLS if str(picture).startswith(s)), None)
    if start is None:
        raise InputError("a picture is an uploaded file or a data URL of a PNG, JPEG or WEBP: addresses are not fetched")
    if len(picture) > MAX_DATA_URL:
        raise InputError(f"the data URL has more than {MAX_DATA_URL // 1_000_000} million characters: make it smaller")
    try:
        content = base64.b64decode(picture[len(start) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the data URL is not valid base64: encode the picture again") from error
    uploads = Path(get_upload_folder())
    uploads.mkdir(parents=True, exist_ok=True)
    # Where a process that is killed leaves nothing for good.
    with tempfile.TemporaryDirectory(dir=uploads) as folder:
        path = Path(folder) / "picture"
        path.write_bytes(content)
        return open_upload(str(path))


def _uploaded(payload: dict[str, Any]) -> Path:
    """Where an uploaded file lies; any other path is refused, though Gradio has looked as well."""
    if not is_file_obj_with_meta(payload):
        raise InputError("a file did not arrive as an upload: send it with handle_file of gradio_client")
    path = Path(str(payload["path"])).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise InputError("a file did not arrive as an upload: upload it first")
    return path


@on_gpu("api")
def _answered(
    editor: LiveEdit, repository: ExpertRepository, edits: list[Edit], query: Query, max_new_tokens: int
) -> dict[str, Any]:
    """Both answers under the repository and the edits, as JSON."""
    editor.edit(repository, edits)
    base, edited = editor.answer([None, repository], [query, query], max_new_tokens=max_new_tokens)
    return {"answer": edited.text, "base": base.text, "edits": _listed(repository), "trace": edited.trace.to_json()}


@on_gpu("api")
def _routed(editor: LiveEdit, repository: ExpertRepository, edits: list[Edit], query: Query) -> dict[str, Any]:
    """What routing decides, as JSON."""
    editor.backbone.check_prompt(query.prompt)
    editor.edit(repository, edits)
    return {"edits": _listed(repository), "trace": editor.route(repository, [query])[0].to_json()}


def _listed(repository: ExpertRepository) -> list[dict[str, Any]]:
    """The edits in their order, as the trace names them."""
    return [
        {"expert_id": e.id, "prompt": e.edit.prompt, "answer": e.edit.target, "active": e.active} for e in repository
    ]
