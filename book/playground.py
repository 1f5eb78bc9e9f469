"""The scripts of the page that samples in the browser: the package's JavaScript in one file, and the toy model in another."""

from __future__ import annotations

import base64
import json
from pathlib import Path

PARTS = ("formulas", "controls", "sampler", "playground")
MODEL = "toy"


def assemble(root: Path, static: Path) -> None:
    """Write ``playground.js``, ``toy.js`` and ``widgets.css`` into the static folder of the staged sources."""
    scripts, models = root / "ardm" / "js", root / "data" / "models"
    parts = [(scripts / f"{part}.js").read_text("utf8") for part in PARTS]
    (static / "playground.js").write_text("\n".join(["(() => {", *parts, "})();"]) + "\n", "utf8")
    (static / "widgets.css").write_bytes((scripts / "widgets.css").read_bytes())
    packed = {
        "denoiser": base64.b64encode((models / f"{MODEL}.onnx").read_bytes()).decode(),
        "gate": base64.b64encode((models / f"{MODEL}-gate.onnx").read_bytes()).decode(),
        "told": json.loads((models / f"{MODEL}.json").read_text("utf8")),
    }
    (static / "toy.js").write_text(f"globalThis.ARDM_TOY = {json.dumps(packed, ensure_ascii=False)};\n", "utf8")
