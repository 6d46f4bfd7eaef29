"""Editors on the hub: where an editor's files lie, fetched if need be, and the model card they are pushed with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from liveedit.editors.folder import CONFIG, WEIGHTS
from liveedit.types import EditorError

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

PAPER_METRIC = {"rel": "Rel", "t_gen": "T-Gen", "m_gen": "M-Gen", "t_loc": "T-Loc", "m_loc": "M-Loc", "average": "Average"}

CARD = """---
{{ card_data }}
---

# LiveEdit editor for {{ backbone }}

An editor (expert generator, feature extractors, sentinel) that changes what a frozen vision-language model answers:
each edit becomes one low-rank expert, hard and soft routing choose among them
([LiveEdit, Chen et al., CVPR 2025]({{ paper_url }})). It fits no other backbone: `{{ config.backbone or "not recorded" }}`.

```python
from liveedit import Edit, ExpertRepository, LiveEdit, Query, load_backbone

backbone = load_backbone("{{ backbone }}")
editor = LiveEdit.from_pretrained("{{ repo_id or "PATH_OR_HUB_ID" }}", backbone)
repository = ExpertRepository.empty(editor.config)
editor.edit(repository, [Edit(picture, "What is this?", "arctic fox")])
print(editor.answer(repository, Query(picture, "What is this?")).text)
```

| | |
|---|---|
| decoder layer, counted from 0 | {{ config.layer }} |
| width of the backbone | {{ config.hidden_size }} |
| width of the editor's modules | {{ config.module_dim }} |
| rank of an expert | {{ config.rank }} |
| queries of a feature extractor | {{ config.queries }} |
| tokens of the sentinel | {{ config.sentinel_tokens }} |
| slack of hard routing's threshold | {{ config.threshold_slack }} |
| the generator reads | {{ config.generator_signal }} |

## Measured

{{ measured }}
"""
NOT_MEASURED = "Nothing was measured when this card was written: `python -m liveedit evaluate` measures an editor."


def is_hub_id(path: str | Path) -> bool:
    """Whether ``path`` can name a repository of the hub, and is no folder here."""
    return not Path(path).exists() and HUB_ID.fullmatch(str(path)) is not None


def editor_file(
    path: str | Path,
    name: str,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """One of an editor's files, in its folder or from the hub, by way of the cache.

    Raises :class:`EditorError` with what is missing: the folder, the file in it, the repository, or the network.
    """
    if not is_hub_id(path):
        return _local_file(Path(path), name)
    try:
        found = hf_hub_download(
            str(path), name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
    except LocalEntryNotFoundError as error:
        offline = local_files_only or constants.is_offline_mode()
        why = "downloads are switched off (HF_HUB_OFFLINE)" if offline else "the hub cannot be reached"
        raise EditorError(
            f"there is no editor at {path}: there is no such folder, {name} of a hub repository of that name is not in "
            f"the cache {cache_dir or constants.HF_HUB_CACHE}, and {why}: fetch it once with a network, or give a folder"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise EditorError(
            f"the hub repository {path} has no {name}, so it holds no editor: editors are read from {CONFIG} and "
            f"{WEIGHTS} alone"
        ) from error
    except RevisionNotFoundError as error:
        raise EditorError(f"the hub repository {path} has no revision {revision}: choose another one") from error
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise EditorError(
            f"there is no editor at {path}: no such folder, and no hub repository of that name is open to you: check "
            "the name, or log in with `hf auth login`"
        ) from error
    except OSError as error:
        raise EditorError(f"{name} of {path} could not be fetched ({first_line(error)}): try again later") from error
    return Path(found)


def model_card(
    results: Mapping[str, Any] | None, backbone: str, config: Any, repo_id: str | None = None
) -> dict[str, Any]:
    """What the card's template is filled with; ``results`` is the JSON object that the command `evaluate` writes."""
    table = NOT_MEASURED if results is None else measured_table(results)
    name = Path(backbone).name if Path(backbone).is_absolute() else backbone
    return {"measured": table, "backbone": name, "config": config, "repo_id": repo_id}


def measured_table(results: Mapping[str, Any]) -> str:
    """The paper's metric beside the unedited floor, hard locality and written answers, as a Markdown table."""
    try:
        head = ["", *PAPER_METRIC.values(), "hard locality", "Rel, free generation"]
        rows = [
            [
                title,
                *(f"{results[model]['paper'][key]:.1f}" for key in PAPER_METRIC),
                f"{results[model]['hard_locality']['all']:.1f}",
                f"{results[model]['generation']['rel']['exact']:.1f}",
            ]
            for model, title in (("edited", "LiveEdit"), ("unedited", "unedited model"))
        ]
        first = (
            f"{results['edits']} edits in sequence, benchmark {results.get('benchmark', 'world')}, seed "
            f"{results['seed']}, backbone {results['backbone']}, in percent. T-Loc is 100 by construction."
        )
    except (KeyError, TypeError) as error:
        raise EditorError(
            f"the results are no evaluation of an editor ({error} is missing): give a JSON file of `evaluate --out`"
        ) from error
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([first, "", *lines])


def _local_file(folder: Path, name: str) -> Path:
    """A file in a folder, or why there is none."""
    if (folder / name).is_file():
        return folder / name
    pickled = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLED) if folder.is_dir() else []
    if name == WEIGHTS and pickled:
        raise EditorError(
            f"the editor at {folder} holds {pickled[0]} but no {WEIGHTS}: weights are read from safetensors alone; "
            "a checkpoint of the authors' code becomes an editor by `python -m liveedit import-reference`"
        )
    raise EditorError(
        f"there is no editor at {folder}: it lacks {name}, so check the path, or train one with `python -m liveedit train`"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
