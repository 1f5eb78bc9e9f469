"""The scripts of the page that samples in the browser: the package's JavaScript in one file, and the toy model in another."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from ardm.base.resources import MODELS
from ardm.book.widgets import CLASSES, KEY, SCRIPTS

PARTS = ("formulas", "streams", "controls", "sampler", "playground")
MODEL = "toy"


def assemble(static: Path, models: Path = MODELS) -> None:
    """Write ``playground.js``, ``toy.js`` and ``widgets.css`` into the static folder of the staged sources."""
    events = f"const EVENTS = {json.dumps({'classes': CLASSES, 'key': KEY}, ensure_ascii=False)};"
    parts = [events, *((SCRIPTS / f"{part}.js").read_text("utf8") for part in PARTS)]
    (static / "playground.js").write_text("\n".join(["(() => {", *parts, "})();"]) + "\n", "utf8")
    (static / "widgets.css").write_bytes((SCRIPTS / "widgets.css").read_bytes())
    packed = {
        "denoiser": base64.b64encode((models / f"{MODEL}.onnx").read_bytes()).decode(),
        "gate": base64.b64encode((models / f"{MODEL}-gate.onnx").read_bytes()).decode(),
        "told": json.loads((models / f"{MODEL}.json").read_text("utf8")),
    }
    (static / "toy.js").write_text(f"globalThis.ARDM_TOY = {json.dumps(packed, ensure_ascii=False)};\n", "utf8")
