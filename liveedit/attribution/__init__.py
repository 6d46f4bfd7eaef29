"""Attribution: which regions of a picture made a feature. Arrays out, never figures."""

from liveedit.attribution.pixel import visual_feature_occlusion
from liveedit.attribution.visual import visual_feature_heatmaps

__all__ = ["visual_feature_heatmaps", "visual_feature_occlusion"]
