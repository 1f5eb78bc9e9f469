/* The sampler in the page: a recorded run plays until the model is loaded; then runs are computed here. TOLD is what the page is told
   of the language, the events and the recorded run (book/playground.py). */
const { classes, key, words: WORDS, length: L, law } = TOLD;
const V = WORDS.length;
const FROM = {
  recorded: ["Recorded run", `It was made by ${TOLD.run.command} (commit ${TOLD.run.provenance.commit}, torch ${TOLD.run.provenance.torch}).`],
  live: ["Live", "Each run is computed here, in this page."],
  link: ["From a link", "This is the text as it was sent. Load the sampler to compute its run."],
};

const named = (token) => WORDS[token] ?? "_";
const untouched = (x) => [{ x, events: x.map((token) => (token === V ? "hidden" : "given")) }];
const oneLine = (error) => String(error?.message ?? error).split("\n")[0];

function begin(root) {
  let model = null;
  let busy = false;
  let chosen = 0;
  let pending = null; // the state of a link that waits for the model
  let shown = { from: "recorded", settings: TOLD.run.settings, frames: TOLD.run.frames, kept: TOLD.run.settings.fixed };
  const waiting = []; // edits made during a run
  const button = (name, pressed, kind = false) => element("button", { type: "button", class: kind, onclick: pressed }, name);

  /* ------------------------------------------------------------------------------------------------------------ the parts */
  const [pill, facts, verdict] = ["pill", "facts", "verdict"].map((kind) => element("span", { class: kind }));
  const tokens = Array.from({ length: L }, (_, i) =>
    element("button", { type: "button", onclick: () => choose(i), onmouseenter: () => tellOf(i), onmouseleave: () => tellOf(chosen), onfocus: () => tellOf(i), onblur: () => tellOf(chosen) }),
  );
  const readout = element("p", { class: "readout" });
  const mark = element("i", {});
  const limit = element("span", {});
  const scale = element("div", { class: "legend" }, element("span", {}, "p, how much the gate doubts a token: 0"), element("span", { class: "scale" }, mark), element("span", {}, "1"), limit);
  const bar = stepBar("step", draw);
  const about = element("p", { class: "about" });
  const says = element("p", { class: "says", "aria-live": "polite" });
  const T = slider("T, steps", { min: 1, max: 32, step: 1, value: TOLD.run.settings.T }, () => {});
  const threshold = slider("threshold", { min: 0, max: 1, step: 0.01, value: TOLD.run.settings.threshold, says: fixed(2) }, () => {});
  const seed = slider("seed", { min: 0, max: 999, step: 1, value: TOLD.run.settings.seed }, () => {});
  const rule = choice("rule", Object.keys(rules), TOLD.run.settings.rule, usual);
  const prompt = element("input", { type: "text", "aria-label": "your words", placeholder: "some bears rest ." });
  const word = element("select", { "aria-label": "word", onchange: () => put(chosen, Number(word.value)) }, ...WORDS.map((w, v) => element("option", { value: v }, w)), element("option", { value: V }, "(hidden)"));
  const keep = element("input", { type: "checkbox", onchange: () => fix(chosen, keep.checked) });
  const loading = button(`Load the sampler (${TOLD.megabytes} MB, kept by the browser)`, start, "load");
  const rewriting = button("Rewrite", rewrite, "main");
  const hint = element("p", { class: "hint" }, "Three clicks: load the sampler, break a token, press Rewrite, and see it mended.");
  const acting = element("span", { class: "line", hidden: true }, rewriting, button("Break a token", spoil), button("Hide all", clear));
  const panel = element(
    "div",
    { hidden: true },
    element("div", { class: "controls" }, element("div", {}, rule.node, threshold.node), element("div", {}, T.node, seed.node)),
    element("form", { class: "line", onsubmit: type }, prompt, element("button", { type: "submit" }, "Put in place")),
    element("div", { class: "line" }, element("span", {}, "Chosen token:"), word, element("label", {}, keep, " keep it")),
  );
  root.replaceChildren(
    element("div", { class: "head" }, pill, facts, verdict),
    element("div", { class: "text tokens", role: "group", "aria-label": "The text, a button for each token" }, ...tokens),
    readout,
    scale,
    bar.node,
    eventKey(key),
    about,
    element("div", { class: "line actions" }, loading, acting, button("Copy link", copyLink)),
    hint,
    says,
    panel,
  );

  /* ------------------------------------------------------------------------------------------------------- what is shown */
  const frame = () => shown.frames[bar.at];

  function present(next, step, loop = false) {
    shown = next;
    bar.node.hidden = shown.frames.length < 2;
    pill.textContent = FROM[shown.from][0];
    pill.className = `pill ${shown.from}`;
    about.textContent = FROM[shown.from][1];
    const made = shown.settings;
    facts.textContent = made ? `${made.rule}, T = ${made.T}, seed ${made.seed}` : "";
    scale.hidden = !shown.frames.some(({ p }) => p);
    if (!scale.hidden) {
      mark.style.setProperty("--at", made.threshold);
      limit.textContent = `(above ${made.threshold.toFixed(2)} it is hidden)`;
    }
    bar.reset(shown.frames.length - 1, step, loop);
  }

  function draw(step) {
    const { x, events, p } = shown.frames[step];
    tokens.forEach((node, i) => {
      const doubt = p?.[i] ?? null;
      node.textContent = named(x[i]);
      node.className = [classes[events[i]], shown.kept[i] && "fixed", doubt !== null && "doubted"].filter(Boolean).join(" ");
      node.style.setProperty("--p", doubt ?? 0);
      node.setAttribute("aria-pressed", String(i === chosen));
      node.setAttribute("aria-label", wordsOf(step, i));
      node.title = wordsOf(step, i);
    });
    const hidden = x.filter((token) => token === V).length;
    const right = !hidden && allowed(x, law);
    verdict.textContent = hidden ? `${hidden} hidden` : right ? "right by the grammar" : "wrong by the grammar";
    verdict.className = `verdict ${hidden ? "" : right ? "right" : "wrong"}`;
    word.value = x[chosen];
    keep.checked = shown.kept[chosen];
    tellOf(chosen, step);
    return stepSays(step, shown.frames.length - 1, events.map((event) => classes[event]), key);
  }

  /* One token in words: "bears, position 3: p = 0.02, kept". p is of the token that stood there before the step. */
  function wordsOf(step, i) {
    const { x, events, p } = shown.frames[step];
    const doubt = p?.[i] ?? null;
    const before = step && shown.frames[step - 1].x[i] !== x[i] ? ` of ${named(shown.frames[step - 1].x[i])}` : "";
    return `${named(x[i])}, position ${i}: ${doubt === null ? "" : `p${before} = ${doubt.toFixed(3)}, `}${events[i]}`;
  }

  function tellOf(i, step = bar.at) {
    readout.textContent = wordsOf(step, i);
  }

  function tell(message) {
    says.textContent = message;
  }

  function usual() {
    threshold.value = rules[rule.value].threshold ?? 0;
    threshold.node.hidden = rules[rule.value].threshold === undefined;
  }

  function choose(i) {
    chosen = i;
    bar.move(bar.at);
  }

  /* ------------------------------------------------------------------------------------------------------------- editing */

  /* A change of the text that is shown, which begins a new one. During a run it waits for its turn. Returns what was done. */
  function edit(change) {
    if (busy) {
      waiting.push(change);
      return tell(`Edits that wait for the end of the run: ${waiting.length}.`);
    }
    const next = { x: [...frame().x], kept: [...shown.kept] };
    const done = change(next);
    present({ from: "live", settings: null, frames: untouched(next.x), kept: next.kept.map((yes, i) => yes && next.x[i] !== V) }, 0);
    tell(done ?? "");
  }

  function put(i, token) {
    edit(({ x }) => {
      x[i] = token;
    });
  }

  function fix(i, yes) {
    edit(({ kept }) => {
      kept[i] = yes;
    });
  }

  function type(event) {
    event.preventDefault();
    const given = prompt.value.trim().split(/\s+/).filter(Boolean).slice(0, L);
    const unknown = given.filter((w) => !WORDS.includes(w));
    if (unknown.length) return tell(`Not a word of this language: ${unknown.join(", ")}. It knows ${WORDS.join(" ")}`);
    edit(({ x, kept }) => {
      given.forEach((w, i) => ([x[i], kept[i]] = [WORDS.indexOf(w), true]));
      return `${given.length} words are in place and will be kept.`;
    });
  }

  /* Another word at a random place, such that the grammar is broken where it was not. */
  function spoil() {
    edit(({ x, kept }) => {
      const put = (i, v) => x.map((token, j) => (j === i ? v : token));
      const open = x.map((_, i) => i).filter((i) => x[i] !== V && !kept[i]);
      const all = open.flatMap((i) => WORDS.map((_, v) => [i, v])).filter(([i, v]) => v !== x[i] && !allowed(put(i, v), law));
      if (!all.length) return "There is no token to break: write a text first.";
      const [i, v] = all[Math.floor(Math.random() * all.length)];
      const was = x[i];
      [chosen, x[i]] = [i, v];
      return `Position ${i}: ${named(was)} was replaced by ${named(v)}. Press Rewrite to see it mended.`;
    });
  }

  function clear() {
    edit((next) => {
      [next.x, next.kept] = [Array(L).fill(V), Array(L).fill(false)];
    });
  }

  /* ------------------------------------------------------------------------------------------------------------- running */

  /* The frames of a run, shown at a step; then the edits that came meanwhile, in their order. */
  async function compute(settings, then) {
    if (busy) return;
    busy = true;
    bar.stop();
    const focused = document.activeElement === rewriting;
    rewriting.disabled = true;
    root.setAttribute("aria-busy", "true");
    tell("");
    let failure = "";
    try {
      then((await sample(model, settings)).frames);
    } catch (error) {
      failure = `The run failed: ${oneLine(error)}. The text is as it was; try again or change it.`;
    }
    busy = false;
    rewriting.disabled = false;
    if (focused) rewriting.focus();
    root.removeAttribute("aria-busy");
    const edits = waiting.splice(0);
    if (edits.length && !failure) bar.move(shown.frames.length - 1);
    edits.forEach(edit);
    if (edits.length) tell(`${failure} Edits made during the run, now in place: ${edits.length}.`.trim());
    else if (failure) tell(failure);
  }

  function rewrite() {
    const settings = { rule: rule.value, T: T.value, threshold: threshold.value, seed: seed.value, x: [...frame().x], fixed: [...shown.kept] };
    return compute(settings, (frames) => {
      present({ from: "live", settings, frames, kept: settings.fixed }, 0);
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) bar.move(frames.length - 1);
      else bar.play();
    });
  }

  async function start() {
    loading.disabled = true;
    tell("Loading …");
    try {
      model ??= await loadModel(root.dataset.folder, TOLD);
    } catch (error) {
      loading.disabled = false;
      return tell(`The sampler could not be loaded: ${oneLine(error)}. Try again.`);
    }
    loading.remove();
    hint.textContent = "Break a token, press Rewrite, and see it mended.";
    acting.hidden = panel.hidden = false;
    rewriting.focus();
    tell("");
    await replay(pending ?? { ...stateOf(shown.frames.length - 1) });
    Object.assign(root, { model, sample: (settings) => sample(model, settings) }); // for the tests
    root.dataset.ready = "yes";
  }

  /* --------------------------------------------------------------------------------------------------------------- links */

  function stateOf(step) {
    const { settings, frames, kept } = shown;
    const text = frames[step].x;
    if (settings) return { ...settings, kept: settings.fixed, text, start: settings.x, step };
    return { rule: rule.value, T: T.value, threshold: threshold.value, seed: seed.value, kept, text };
  }

  async function copyLink() {
    history.replaceState(null, "", address.write(stateOf(bar.at), WORDS));
    try {
      await navigator.clipboard.writeText(location.href);
      tell("The link to what is shown is copied; the address bar has it too.");
    } catch {
      tell("The link to what is shown is in the address bar: copy it from there.");
    }
  }

  function restore() {
    try {
      const state = address.read(location.hash, { words: WORDS, length: L, rules });
      if (state) replay(state);
      return Boolean(state);
    } catch (error) {
      tell(`This link cannot be shown: ${oneLine(error)}.`);
      return false;
    }
  }

  /* A state as it was: its settings, its text, and with the model the run up to its step. */
  async function replay(state) {
    pending = null;
    rule.value = state.rule;
    usual();
    for (const [part, value] of [[T, state.T], [threshold, state.threshold], [seed, state.seed]]) part.value = value;
    const as = (from) => present({ from, settings: null, frames: untouched(state.text), kept: state.kept }, 0);
    if (state.step === undefined || !model) {
      if (!model) pending = state;
      return as(model ? "live" : "link");
    }
    const settings = { rule: state.rule, T: state.T, threshold: state.threshold, seed: state.seed, x: state.start, fixed: state.kept };
    let same = true;
    await compute(settings, (frames) => {
      same = String(frames[state.step].x) === String(state.text);
      if (same) present({ from: "live", settings, frames, kept: state.kept }, state.step);
      else as("link");
    });
    if (!same) tell("The sampler of this page writes another text from this link. Shown is the text of the link.");
  }

  usual();
  threshold.value = TOLD.run.settings.threshold;
  if (!restore()) {
    present(shown, 0, true);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) bar.move(shown.frames.length - 1);
    else bar.play();
  }
  addEventListener("hashchange", restore);
}

for (const root of document.querySelectorAll(".ardm-playground")) begin(root);
