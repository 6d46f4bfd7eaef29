"""Configurations of the baseline editors, one file each, and the registry of all editors: plain data, quick to import."""

from liveedit.configs.base import BaselineTrainingConfig, Registered, TrainedKind, fitting_preset, preset
from liveedit.configs.ft import FT_PRESETS
from liveedit.configs.lemoe import LEMOE_PRESETS
from liveedit.configs.lte import LTE
from liveedit.configs.mend import MEND
from liveedit.configs.recipe import RECIPE
from liveedit.configs.retrieval import RETRIEVAL
from liveedit.configs.serac import SERAC
from liveedit.configs.tp import TP_PRESETS

# A new editor is its files and one line here.
REGISTRY: dict[str, Registered] = {
    "ft-l": Registered("liveedit.editors.fine_tuning.FineTuneLanguage", presets=FT_PRESETS),
    "ft-m": Registered("liveedit.editors.fine_tuning.FineTuneModality", presets=FT_PRESETS),
    "lemoe": Registered("liveedit.editors.lemoe.Lemoe", presets=LEMOE_PRESETS),
    "liveedit": Registered("liveedit.editors.liveedit.LiveEdit"),
    "lte": Registered("liveedit.editors.lte.Lte", LTE),
    "mend": Registered("liveedit.editors.mend.Mend", MEND),
    "recipe": Registered("liveedit.editors.recipe.Recipe", RECIPE),
    "retrieval": Registered("liveedit.editors.retrieval.Retrieval", RETRIEVAL),
    "serac": Registered("liveedit.editors.serac.Serac", SERAC),
    "tp": Registered("liveedit.editors.patcher.TransformerPatcher", presets=TP_PRESETS),
    "unedited": Registered("liveedit.editors.unedited.Unedited"),
}
# Baselines that `train --editor NAME` trains.
TRAINED: dict[str, TrainedKind] = {name: entry.trained for name, entry in REGISTRY.items() if entry.trained}

__all__ = ["REGISTRY", "TRAINED", "BaselineTrainingConfig", "Registered", "TrainedKind", "fitting_preset", "preset"]
