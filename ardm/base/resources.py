"""Where the files that come with the package lie: the registry of corpora, published models, published tables."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["DATA", "MODELS", "REGISTRY", "RESULTS"]

DATA = Path(str(files("ardm"))) / "data"
REGISTRY = DATA / "registry.json"
MODELS = DATA / "models"
RESULTS = DATA / "results"
