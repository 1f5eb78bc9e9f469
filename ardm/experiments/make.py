"""The experiment that a folder was made for, by what was asked when it began."""

from __future__ import annotations

import json
from pathlib import Path

from ardm.base.errors import InputError
from ardm.experiments.ablations import Ablations
from ardm.experiments.arena import Arena
from ardm.experiments.cells import Settings
from ardm.experiments.work import ASKED, Experiment, Place

__all__ = ["asked"]


def asked(folder: Path) -> Experiment:
    """The arena or the ablations of the folder; ``InputError`` where none was begun, or by another version of the code."""
    try:
        told = json.loads((folder / ASKED).read_text("utf8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no arena and no ablations: name the folder that was given as --out") from error
    settings, place = Settings.of(told["settings"]), Place(folder, Path(told["models"]))
    return Arena(settings, place) if told["kind"] == "arena" else Ablations(settings, place, tuple(told["axes"]))
