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


GATES = {
    "gate": "likelihood ratio ({doc}`22 <../notebooks/22_the_gate_that_wins>`)",
    "repair": "minimal repair ({doc}`24 <../notebooks/24_taught_by_repair>`)",
}


def numbers(models: Path = MODELS) -> dict[str, str]:
    """What the page says of its gates, as Markdown."""
    told = json.loads((models / f"{MODEL}-measured.json").read_text("utf8"))
    lines = ["| gate, by its teacher | calls | threshold | written right, % | mended, % | loss |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {GATES[row['gate']]} | {row['calls']} | {row['threshold']} | {_percent(row, 'valid')} | {_percent(row, 'mended')} "
        f"| {row['loss']:.3f} |"
        for row in sorted(told["rows"], key=lambda row: (row["calls"], row["gate"]))
    ]
    return {"table": "\n".join(lines), "count": f"{told['count']:,}"}


def _percent(row: dict, name: str) -> str:
    value, low, high = (100 * row[name + end] for end in ("", "_low", "_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
