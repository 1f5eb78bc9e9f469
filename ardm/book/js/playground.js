/* The sampler in the page: a toy denoiser and its gate, run by onnxruntime-web. Everything is fetched from the book's own folder. */
const { classes, key } = EVENTS; // of ardm/book/widgets.py: how each event is shown, and those that the key below the text explains

function load(source) {
  return new Promise((done, failed) => {
    const script = element("script", { src: source });
    script.onload = done;
    script.onerror = () => failed(new Error(`${source} could not be loaded`));
    document.head.append(script);
  });
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));

async function unzipped(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function toy(folder) {
  await Promise.all(["vendor/onnxruntime-web/ort.wasm.min.js", "vendor/onnxruntime-web/wasm.js", "toy.js"].map((file) => load(folder + file)));
  const wasm = new Blob([await unzipped(globalThis.ARDM_WASM)], { type: "application/wasm" });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.simd = false;
  ort.env.wasm.wasmPaths = { "ort-wasm.wasm": URL.createObjectURL(wasm) };
  const { denoiser, gate, told } = globalThis.ARDM_TOY;
  const sessions = [];
  for (const model of [denoiser, gate]) sessions.push(await ort.InferenceSession.create(bytesOf(model), { executionProviders: ["wasm"] }));
  const floats = (values, ...shape) => new ort.Tensor("float32", Float32Array.from(values.flat()), [1, ...shape]);
  const L = told.length;
  return {
    ...told,
    async predict(x) {
      const tokens = new ort.Tensor("int64", BigInt64Array.from(x.map(BigInt)), [1, L]);
      const { logits, hidden } = await sessions[0].run({ x: tokens });
      return { logits: Array.from(logits.data), hidden };
    },
    async judge(hidden, signals, time, r) {
      const feeds = { hidden, signals: floats(signals, L, signals[0].length), time: new ort.Tensor("float32", [time], [1]), prior: floats(r, L) };
      return Array.from((await sessions[1].run(feeds)).logit_u.data);
    },
  };
}

function begin(root) {
  const folder = root.dataset.folder;
  const says = element("p", { class: "says", "aria-live": "polite" });
  const loading = element("button", { type: "button", class: "load" }, "Load the sampler (4 MB)");
  root.replaceChildren(loading, says);
  loading.addEventListener("click", async () => {
    loading.disabled = true;
    says.textContent = "Loading …";
    try {
      play(root, await toy(folder));
    } catch (error) {
      loading.disabled = false;
      says.textContent = `The sampler could not start: ${error.message ?? error}`;
    }
  });
}

function play(root, model) {
  const [V, L] = [model.words.length, model.length];
  let [x, kept, chosen, frames, timer, busy] = [Array(L).fill(V), Array(L).fill(false), 0, [], null, false];
  const T = slider("T, steps", { min: 1, max: 32, step: 1, value: 12 }, () => {});
  const threshold = slider("threshold", { min: 0, max: 1, step: 0.01, value: 0.5, says: fixed(2) }, () => {});
  const seed = slider("seed", { min: 0, max: 999, step: 1, value: 0 }, () => {});
  const rule = choice("rule", Object.keys(rules), Object.keys(rules)[0], usual);
  const button = (name, pressed) => element("button", { type: "button", onclick: pressed }, name);
  const words = element("div", { class: "text tokens", role: "group", "aria-label": "The text, a button for each token" });
  const word = element("select", { "aria-label": "word", onchange: () => put(Number(word.value)) }, ...model.words.map((w, v) => element("option", { value: v }, w)), element("option", { value: V }, "(hidden)"));
  const keep = element("input", { type: "checkbox", onchange: () => fix(keep.checked) });
  const prompt = element("input", { type: "text", "aria-label": "your words", placeholder: "some bears rest ." });
  const stepper = element("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "step", oninput: () => show(Number(stepper.value)) });
  const says = element("p", { class: "says", "aria-live": "polite" });
  const rewrite = button("Rewrite", run);
  root.replaceChildren(
    element("div", { class: "controls" }, element("div", {}, rule.node, threshold.node), element("div", {}, T.node, seed.node)),
    element("form", { class: "line", onsubmit: type }, prompt, element("button", { type: "submit" }, "Put in place")),
    words,
    element("div", { class: "line" }, element("span", {}, "Chosen token:"), word, element("label", {}, keep, " keep it"), button("Break a token", spoil), button("Hide all", clear)),
    element("div", { class: "bar" }, rewrite, stepper),
    says,
    eventKey(key),
  );

  function usual() {
    threshold.value = rules[rule.value].threshold ?? 0;
    threshold.node.hidden = rules[rule.value].threshold === undefined;
  }

  /* The text as it stands, or after a step of the last run. */
  function show(step = null) {
    const frame = step === null ? { x, events: x.map((token) => (token === V ? "hidden" : "given")) } : frames[step];
    words.replaceChildren(
      ...frame.x.map((token, i) => {
        const doubt = frame.p && frame.p[i] !== null ? `, p ${frame.p[i].toFixed(2)}` : "";
        return element(
          "button",
          {
            type: "button",
            class: `${classes[frame.events[i]]}${kept[i] ? " fixed" : ""}`,
            title: `position ${i}${doubt}`,
            "aria-pressed": i === chosen ? "true" : "false",
            onclick: () => choose(i),
          },
          token === V ? "_" : model.words[token],
        );
      }),
    );
    if (step !== null) {
      stepper.value = step;
      says.textContent = stepSays(step, frames.length - 1, frame.events.map((event) => classes[event]), key);
      stepper.setAttribute("aria-valuetext", says.textContent);
    }
  }

  function fresh(message = "") {
    clearInterval(timer);
    frames = [];
    stepper.max = 0;
    says.textContent = message;
    show();
  }

  function choose(i) {
    chosen = i;
    word.value = x[i];
    keep.checked = kept[i];
    show(frames.length ? Number(stepper.value) : null);
    words.children[i].focus();
  }

  function put(token) {
    x[chosen] = token;
    if (token === V) fix(false);
    fresh();
  }

  function fix(yes) {
    kept[chosen] = yes && x[chosen] !== V;
    keep.checked = kept[chosen];
    show();
  }

  function type(event) {
    event.preventDefault();
    const given = prompt.value.trim().split(/\s+/).filter(Boolean).slice(0, L);
    const unknown = given.filter((w) => !model.words.includes(w));
    if (unknown.length) return fresh(`Not a word of this language: ${unknown.join(", ")}. It knows ${model.words.join(" ")}`);
    given.forEach((w, i) => {
      x[i] = model.words.indexOf(w);
      kept[i] = true;
    });
    fresh(`${given.length} words are in place and will be kept.`);
  }

  function spoil() {
    const open = x.map((_, i) => i).filter((i) => x[i] !== V && !kept[i]);
    if (!open.length) return fresh("There is no token to break: write a text first.");
    const i = open[Math.floor(Math.random() * open.length)];
    const was = x[i];
    x[i] = (was + 1 + Math.floor(Math.random() * (V - 1))) % V;
    chosen = i;
    fresh(`Position ${i}: ${model.words[was]} was replaced by ${model.words[x[i]]}.`);
    choose(i);
  }

  function clear() {
    [x, kept] = [Array(L).fill(V), Array(L).fill(false)];
    keep.checked = false;
    fresh();
  }

  async function run() {
    if (busy) return;
    busy = true;
    clearInterval(timer);
    const began = performance.now();
    const made = await sample(model, { x, fixed: kept, T: T.value, rule: rule.value, threshold: threshold.value, seed: seed.value });
    root.dataset.milliseconds = performance.now() - began;
    busy = false;
    frames = made.frames;
    x = [...frames[frames.length - 1].x];
    word.value = x[chosen];
    stepper.max = frames.length - 1;
    let at = 0;
    show(0);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still) return show(frames.length - 1);
    timer = setInterval(() => (at === frames.length - 1 ? clearInterval(timer) : show(++at)), 350);
  }
  usual();
  choose(0);
  says.textContent = "Choose a rule and press Rewrite, or type words first.";
  root.dataset.ready = "yes";
  root.sample = (settings) => sample(model, settings); // for the test, which compares with Python
}

for (const root of document.querySelectorAll(".ardm-playground")) begin(root);
