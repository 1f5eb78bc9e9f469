function start(root, data) {
  const AXES = {
    "loss: distance from the law, at least": "loss",
    "overwrites a text": "overwrites",
    "milliseconds a text": "milliseconds",
  };
  const [W, H, LEFT, RIGHT, TOP, LOW] = [640, 380, 52, 150, 12, 44];
  const tasks = [...new Set(data.rows.map((row) => row.task))];
  const task = choice("task", tasks, data.task, again);
  const calls = element("select", { "aria-label": "calls", onchange: draw });
  const axis = choice("across", Object.keys(AXES), Object.keys(AXES)[0], draw);
  const rules = [...new Set(data.rows.map((row) => row.rule))];
  const boxes = new Map(rules.map((rule) => [rule, element("input", { type: "checkbox", checked: rule in data.looks, onchange: draw })]));
  const picture = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "Scatter of rules: valid texts against the chosen quantity" });
  const says = element("p", { class: "says", "aria-live": "polite" }, "Point at a mark, or move to it with the Tab key, for its numbers.");
  root.append(
    element("div", { class: "line" }, task.node, element("label", { class: "choice" }, element("span", {}, "calls"), calls), axis.node),
    element("div", { class: "wide" }, picture),
    says,
    element(
      "details",
      {},
      element("summary", {}, "Rules"),
      element("div", { class: "boxes" }, ...rules.map((rule) => element("label", {}, boxes.get(rule), ` ${rule}`))),
    ),
  );

  function again() {
    const known = [...new Set(data.rows.filter((row) => row.task === task.value).map((row) => row.nfe))].sort((a, b) => a - b);
    const before = Number(calls.value) || data.nfe;
    calls.replaceChildren(...known.map((nfe) => element("option", { value: nfe }, String(nfe))));
    calls.value = known.includes(before) ? before : known[known.length - 1];
    draw();
  }

  /* Black is the ink of the page, which the dark theme makes white. */
  function ink(rule) {
    const colour = data.looks[rule] ?? "#999999";
    return colour === "#000000" ? "currentColor" : colour;
  }

  function draw() {
    const key = AXES[axis.value];
    const chosen = (row) => row.task === task.value && row.nfe === Number(calls.value) && boxes.get(row.rule).checked;
    const shown = data.rows.filter((row) => chosen(row) && Number.isFinite(row[key]));
    const most = Math.max(...shown.map((row) => row[key]), 1e-9) * 1.05;
    const x = (value) => LEFT + ((W - LEFT - RIGHT) * value) / most;
    const y = (value) => H - LOW - (H - LOW - TOP) * value;
    const axes = { stroke: "currentColor", "stroke-width": 1 };
    const parts = [
      element("line", { x1: LEFT, x2: W - RIGHT, y1: y(0), y2: y(0), ...axes }),
      element("line", { x1: LEFT, x2: LEFT, y1: y(0), y2: y(1), ...axes }),
      element("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle", class: "name" }, axis.value),
      element("text", { x: 12, y: (TOP + H - LOW) / 2, transform: `rotate(-90 12 ${(TOP + H - LOW) / 2})`, "text-anchor": "middle", class: "name" }, data.quality[task.value]),
    ];
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(element("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}`));
    }
    for (const [value, words] of ticks(most)) parts.push(element("text", { x: x(value), y: y(0) + 16, "text-anchor": "middle" }, words));
    /* Labels stand right of the axis in the order of their marks, pushed apart. */
    const labelled = shown.filter((row) => row.rule in data.looks).sort((a, b) => b.quality - a.quality);
    let above = TOP - 6;
    const places = labelled.map((row) => (above = Math.max(above + 12.5, y(row.quality) + 4)));
    const over = Math.max(0, (places[places.length - 1] ?? 0) - (H - LOW));
    labelled.forEach((row, k) => {
      const [colour, place] = [ink(row.rule), places[k] - over * (places.length < 2 ? 1 : k / (places.length - 1))];
      parts.push(element("line", { x1: x(row[key]), y1: y(row.quality), x2: W - RIGHT + 8, y2: place - 4, stroke: colour, "stroke-width": 0.5, class: "lead" }));
      parts.push(element("text", { x: W - RIGHT + 11, y: place, class: "label", style: `--ink: ${colour}` }, row.rule));
    });
    for (const row of shown) {
      const number = (value, digits) => (value === null ? "unknown" : value.toFixed(digits));
      const interval = `${number(100 * row.quality, 1)} % [${number(100 * row.low, 1)}, ${number(100 * row.high, 1)}]`;
      const rest = `loss ${number(row.loss, 3)}, ${number(row.overwrites, 1)} overwrites, ${number(row.milliseconds, 1)} ms a text`;
      const words = `${row.rule}: ${interval}, ${rest}`;
      const tell = () => (says.textContent = words);
      const colour = ink(row.rule);
      const mark = element("circle", { cx: x(row[key]), cy: y(row.quality), r: 5, fill: colour, stroke: "var(--sheet)", tabindex: 0, role: "img", "aria-label": words, "data-rule": row.rule, onmouseenter: tell, onfocus: tell, onclick: tell });
      parts.push(element("line", { x1: x(row[key]), x2: x(row[key]), y1: y(row.low), y2: y(row.high), stroke: colour }), mark);
    }
    picture.replaceChildren(...parts);
  }
  again();
}
