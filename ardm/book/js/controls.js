/* Small parts that the widgets are made of. */
const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const drawn = ["svg", "g", "line", "path", "rect", "text", "circle", "title"].includes(tag);
  const node = drawn ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/* A labelled slider that says its value. Moves by mouse, touch and arrow keys. */
function slider(name, { min, max, step, value, says = String }, changed) {
  const input = element("input", { type: "range", min, max, step, value, "aria-label": name });
  const output = element("output", {}, says(value));
  const node = element("label", { class: "slider" }, element("span", {}, name), input, output);
  input.addEventListener("input", () => {
    show();
    changed();
  });
  function show() {
    output.textContent = says(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  }
  show();
  return {
    node,
    get value() {
      return Number(input.value);
    },
    set value(next) {
      input.value = next;
      show();
    },
    limit(highest) {
      input.max = highest;
      show();
    },
  };
}

/* Back, play, next and a slider over the steps from 0. `show(step)` draws a step and returns what it says in words. */
function stepBar(name, show) {
  let [at, last, timer, loops] = [0, 0, null, false];
  const input = element("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": name, oninput: () => move(Number(input.value)) });
  const says = element("output", { "aria-live": "polite" });
  const button = (name, kind, pressed) => element("button", { type: "button", class: kind, onclick: pressed }, name);
  const start = button("Play", "play", () => (timer ? stop() : play()));
  const node = element("div", { class: "bar" }, button("Back", "back", () => move(at - 1)), start, button("Next", "next", () => move(at + 1)), input, says);

  function draw(step) {
    at = Math.max(0, Math.min(last, step));
    input.max = last;
    input.value = at;
    says.textContent = show(at);
    input.setAttribute("aria-valuetext", says.textContent);
  }

  function move(step) {
    stop();
    draw(step);
  }

  function stop() {
    clearTimeout(timer);
    timer = null;
    start.textContent = "Play";
    says.setAttribute("aria-live", "polite"); // what moves by itself is not read out
  }

  function play() {
    if (at === last) draw(0);
    start.textContent = "Pause";
    says.setAttribute("aria-live", "off");
    const next = () => {
      draw(at === last ? 0 : at + 1);
      if (at === last && !loops) return stop();
      timer = setTimeout(next, at === last ? 2400 : 700);
    };
    timer = setTimeout(next, 700);
  }

  return {
    node,
    move,
    play,
    stop,
    get at() {
      return at;
    },
    /* Another run, of so many steps. */
    reset(steps, step, loop = false) {
      [last, loops] = [steps, loop];
      move(step);
    },
  };
}

function choice(name, options, value, changed) {
  const select = element("select", { "aria-label": name, onchange: () => changed() }, ...options.map((o) => element("option", { value: o }, o)));
  select.value = value;
  const node = element("label", { class: "choice" }, element("span", {}, name), select);
  return {
    node,
    get value() {
      return select.value;
    },
    set value(next) {
      select.value = next;
    },
  };
}

function group(name, ...parts) {
  return element("fieldset", {}, element("legend", {}, name), ...parts);
}

/* What a step did, in words, from the kind of event at each place: "step 3 of 8: 2 written, 1 changed". */
function stepSays(step, last, kinds, names) {
  if (step === 0) return "start";
  const counts = Object.entries(names).map(([kind, name]) => [kinds.filter((one) => one === kind).length, name]);
  const done = counts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
  return `step ${step} of ${last}: ${done.join(", ") || "nothing changes"}`;
}

/* The colours of the kinds of event. */
function eventKey(names) {
  return element("div", { class: "key" }, ...Object.entries(names).map(([kind, name]) => element("span", { class: kind }, name)));
}

/* Round numbers from 0 to at most the given one, and how they are written. */
function ticks(most) {
  const size = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 5, 10].map((k) => k * size).find((s) => s >= most / 4);
  const says = fixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, k) => [k * step, says(k * step)]);
}

/* White to blue for a share in [0, 1]. */
function shade(share) {
  const mix = (from, to) => Math.round(from + (to - from) * Math.min(1, Math.max(0, share)));
  return `rgb(${mix(255, 0)}, ${mix(255, 90)}, ${mix(255, 160)})`;
}

const fixed = (digits) => (value) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
