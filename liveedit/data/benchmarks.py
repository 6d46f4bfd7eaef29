"""What tells the benchmarks apart: their files, where their pictures lie and come from, how they ask.

E-VQA and E-IC are MMEdit's (https://arxiv.org/abs/2310.08475), VLKEB is https://arxiv.org/abs/2403.07350. All
three share one file layout. None is distributed here; each person obtains it from its authors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from liveedit.data.evqa import with_cue
from liveedit.types import DataError

MMEDIT = "https://github.com/zjunlp/EasyEdit/blob/main/examples/MMEdit.md"


@dataclass(frozen=True)
class Origin:
    """Where the pictures come from whose names begin with ``prefix``: what they are, and the page to get them at."""

    prefix: str
    what: str
    where: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark as it is published.

    ``files`` holds for each split the places, relative to the root, at which its annotation file is looked for;
    ``folders`` those at which a picture's name may start. ``cue`` says whether the edit's prompts carry the answer
    cue, ``folder_shows_one_thing`` whether all pictures of a folder show one entity, of which edits say what it is.
    """

    name: str
    title: str
    files: Mapping[str, tuple[str, ...]]
    annotations: str
    folders: tuple[str, ...]
    origins: tuple[Origin, ...]
    cue: bool
    folder_shows_one_thing: bool = False

    def edit_prompt(self, prompt: str) -> str:
        """A prompt about the edit (``src``, ``rephrase``) in the form in which the benchmark asks it."""
        return with_cue(prompt) if self.cue else prompt.strip()

    def annotation_file(self, root: Path, split: str) -> Path:
        """A split's annotation file under ``root``: the first of its usual places that has one.

        Raises :class:`DataError` for an unknown split or when there is none.
        """
        found = self.find_annotations(root, split)
        if found is None:
            raise DataError(
                f"{root} has no {' or '.join(self.files[split])}: name the {self.title} file with --json-file, "
                f"or get it at {self.annotations}"
            )
        return found

    def find_annotations(self, root: Path, split: str) -> Path | None:
        """As :meth:`annotation_file`, but None when there is none."""
        if split not in self.files:
            raise DataError(f"{self.title} has no split {split!r}: choose {' or '.join(self.files)}")
        return next((root / name for name in self.files[split] if (root / name).is_file()), None)

    def picture(self, root: Path, name: str) -> Path | None:
        """The file of a picture of this name, or None when it lies in none of the usual folders."""
        return next((p for folder in self.folders if (p := root / folder / name).is_file()), None)

    def expected(self, root: Path, name: str) -> Path:
        """Where a missing picture belongs: in the first usual folder that is there, or else in the first of all."""
        folder = next((f for f in self.folders if f != "." and (root / f).is_dir()), self.folders[0])
        return root / folder / name

    def shows(self, path: Path) -> str:
        """What a picture shows, as far as its path tells: the entity, or only this very picture."""
        return path.parent.name if self.folder_shows_one_thing else path.name

    def origin(self, name: str) -> Origin:
        """Where the picture of this name comes from; the last origin stands for every name of another form."""
        return next((o for o in self.origins if name.startswith(o.prefix)), self.origins[-1])

    def sources(self, names: Iterable[str]) -> str:
        """In words, how many of some pictures are to be had where."""
        counts = Counter(self.origin(name) for name in names)
        return "; ".join(f"{counts[o]:,} of {o.what}, from {o.where}" for o in self.origins if counts[o])


def _places(folder: str, name: str) -> tuple[str, ...]:
    """MMEdit's archive keeps each task's files in a folder of their own; they may also lie in the root."""
    return (name, f"{folder}/{name}", f"editing-data/{folder}/{name}")


COCO = (
    Origin("val2014/", "COCO val2014", "https://cocodataset.org/#download (2014 Val images)"),
    Origin("val2014_image_rephrase/", "MMEdit's rephrased images", f"its authors' drive, linked at {MMEDIT}"),
)

EVQA = Benchmark(
    name="evqa",
    title="E-VQA",
    files={"train": _places("vqa", "vqa_train.json"), "eval": _places("vqa", "vqa_eval.json")},
    annotations=MMEDIT,
    folders=(".", "images"),
    origins=COCO,
    cue=True,
)
EIC = Benchmark(
    name="eic",
    title="E-IC",
    files={
        "train": _places("caption", "caption_train_edit.json"),
        "eval": _places("caption", "caption_eval_edit.json"),
    },
    annotations=MMEDIT,
    folders=(".", "images"),
    origins=COCO,
    cue=False,
)
VLKEB = Benchmark(
    name="vlkeb",
    title="VLKEB",
    files={
        "train": ("train.json",),
        "eval": ("eval.json",),
        "multihop": ("eval_multihop.json",),
        "onehop": ("eval_edit_onehop.json",),
    },
    annotations="https://github.com/VLKEB/VLKEB",
    folders=("mmkb_images", "VLKEB_images", "."),
    origins=(Origin("", "VLKEB's images", "its authors' dataset page, linked at https://github.com/VLKEB/VLKEB"),),
    cue=False,
    folder_shows_one_thing=True,
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in (EVQA, EIC, VLKEB)}
