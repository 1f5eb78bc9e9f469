"""The scripts of the page that samples in the browser, with what they are told; and the numbers that its prose quotes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from ardm.base.resources import MODELS
from ardm.book.widgets import CLASSES, KEY, SCRIPTS

PARTS = ("formulas", "streams", "controls", "sampler", "address", "runtime", "playground")
MODEL = "toy"
GRAPHS = {"denoiser": MODEL, "gate": f"{MODEL}-gate", "repair": f"{MODEL}-repair"}
RUNTIME = ("vendor/onnxruntime-web/ort.wasm.min.js", "vendor/onnxruntime-web/wasm.js")


def assemble(static: Path, models: Path = MODELS) -> None:
    """Write ``playground.js``, ``toy.js`` and the style sheets into the static folder of the staged sources."""
    graphs = {name: base64.b64encode((models / f"{file}.onnx").read_bytes()).decode() for name, file in GRAPHS.items()}
    model = f"globalThis.ARDM_TOY = {json.dumps(graphs)};\n"
    (static / "toy.js").write_text(model, "utf8")
    files = [*RUNTIME, "toy.js"]
    size = sum((static / file).stat().st_size for file in files if (static / file).is_file())
    version = hashlib.sha256(model.encode()).hexdigest()[:12]  # so that a browser that kept an older one asks again
    told = {
        **json.loads((models / f"{MODEL}.json").read_text("utf8")),
        "classes": CLASSES,
        "key": KEY,
        "run": json.loads((models / f"{MODEL}-run.json").read_text("utf8")),
        "files": [*RUNTIME, f"toy.js?{version}"],
        "megabytes": round(size / 1e6),
    }
    parts = [f"const TOLD = {json.dumps(told, ensure_ascii=False)};"]
    parts += [(SCRIPTS / f"{part}.js").read_text("utf8") for part in PARTS]
    (static / "playground.js").write_text("\n".join(["(() => {", *parts, "})();"]) + "\n", "utf8")
    for style in ("widgets", "playground"):
        (static / f"{style}.css").write_bytes((SCRIPTS / f"{style}.css").read_bytes())
