function start(root, data) {
  const rules = Object.keys(data.runs);
  let at = 0;
  let timer = null;
  const rule = choice("rule", rules, rules[0], () => show(at));
  const text = element("div", { class: data.separator ? "text" : "text letters" });
  const frames = () => data.runs[rule.value].frames;
  const last = () => frames().length - 1;
  const input = element("input", { type: "range", min: 0, max: last(), step: 1, "aria-label": `Step of the recorded sampling, 0 to ${last()}` });
  const says = element("output", { "aria-live": "polite" });
  const button = (name, kind, pressed) => element("button", { type: "button", class: kind, onclick: pressed }, name);
  const play = button("Play", "play", toggle);
  const map = element("canvas", { role: "img", class: "map" });
  const beside = element("div", { class: "beside" }, element("p", { class: "axis" }, "p by position (across) and step (down)"), map);
  root.append(
    element("div", { class: "pair" }, text, beside),
    element(
      "div",
      { class: "bar" },
      ...(rules.length > 1 ? [rule.node] : []),
      button("Back", "back", () => move(at - 1)),
      play,
      button("Next", "next", () => move(at + 1)),
      input,
      says,
    ),
    eventKey(data.events),
  );
  input.addEventListener("input", () => move(Number(input.value)));

  function move(step) {
    stop();
    show(step);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function toggle() {
    if (timer) return stop();
    if (at === last()) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => (at === last() ? stop() : show(at + 1)), 700);
  }

  function show(step) {
    at = Math.max(0, Math.min(last(), step));
    input.max = last();
    input.value = at;
    text.replaceChildren();
    for (const [word, kind] of frames()[at]) text.append(element("span", kind ? { class: kind } : {}, word), data.separator);
    says.textContent = stepSays(at, last(), frames()[at].map(([, kind]) => kind), data.events);
    input.setAttribute("aria-valuetext", says.textContent);
    heat();
  }

  function heat() {
    const p = data.runs[rule.value].p;
    beside.hidden = !p;
    if (!p) return;
    const [rows, columns, side] = [p.length, p[0].length, 10];
    map.width = columns * side;
    map.height = rows * side;
    const pen = map.getContext("2d");
    p.forEach((row, t) => row.forEach((value, i) => {
      pen.fillStyle = value === null ? "#bbbbbb" : shade(value);
      pen.fillRect(i * side, t * side, side, side);
    }));
    if (at > 0) {
      pen.strokeStyle = "#D55E00";
      pen.lineWidth = 2;
      pen.strokeRect(1, (at - 1) * side + 1, map.width - 2, side - 2);
    }
    map.setAttribute("aria-label", `Heat map of p for ${columns} positions and ${rows} steps; grey where the place is hidden`);
  }
  show(last());
}
