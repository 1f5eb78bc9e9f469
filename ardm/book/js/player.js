function start(root, data) {
  const names = Object.keys(data.runs);
  const rule = choice("rule", names, names[0], () => bar.reset(frames().length - 1, bar.at));
  const text = element("div", { class: data.separator ? "text" : "text letters" });
  const frames = () => data.runs[rule.value].frames;
  const last = frames().length - 1;
  const map = element("canvas", { role: "img", class: "map" });
  const beside = element("div", { class: "beside" }, element("p", { class: "axis" }, "p by position (across) and step (down)"), map);
  const bar = stepBar(`Step of the recorded sampling, 0 to ${last}`, show);
  if (names.length > 1) bar.node.prepend(rule.node);
  root.append(element("div", { class: "pair" }, text, beside), bar.node, eventKey(data.events));

  function show(step) {
    text.replaceChildren();
    for (const [word, kind] of frames()[step]) text.append(element("span", kind ? { class: kind } : {}, word), data.separator);
    heat(step);
    return stepSays(step, frames().length - 1, frames()[step].map(([, kind]) => kind), data.events);
  }

  function heat(at) {
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
  bar.reset(last, last);
}
