"""The feature store: writing and reading features on disk."""

from avcil.features.feature_spec import FeatureSpec
from avcil.features.index_lines import StoredClip
from avcil.features.manifest import Manifest
from avcil.features.store import FeatureStore
from avcil.features.writer import FeatureWriter

__all__ = ["FeatureSpec", "FeatureStore", "FeatureWriter", "Manifest", "StoredClip"]
