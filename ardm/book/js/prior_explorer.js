function start(root, data) {
  const sizes = { n: data.n, T: data.T };
  const at = {
    n: slider("n, positions", { min: 4, max: 64, step: 1, value: sizes.n }, draw),
    T: slider("T, steps", { min: 4, max: 64, step: 1, value: sizes.T }, draw),
    alpha: slider("α, slope", { min: 0.05, max: 4, step: 0.05, value: data.alpha, says: fixed(2) }, draw),
    delta: slider("δ, shift", { min: -8, max: 32, step: 0.5, value: data.delta, says: fixed(1) }, draw),
    t: slider("t, this step", { min: 1, max: sizes.T, step: 1, value: Math.ceil(sizes.T / 2) }, draw),
  };
  const canvas = element("canvas", { role: "img", width: 640, height: 280 });
  const bars = element("svg", { role: "img", viewBox: "0 0 640 120", class: "bars" });
  const says = element("p", { class: "says", "aria-live": "polite" });
  root.append(
    element("div", { class: "controls" }, ...Object.values(at).map((part) => part.node)),
    element("p", { class: "axis" }, "r at every position (left to right) and step (top to bottom); the line is this step"),
    canvas,
    element("p", { class: "axis" }, "r at this step, by position"),
    bars,
    says,
  );

  function draw() {
    const [n, T] = [at.n.value, at.T.value];
    at.t.limit(T);
    const prior = { n, T, alpha: at.alpha.value, delta: at.delta.value };
    const r = (i, t) => formulas.sigmoid(formulas.priorLogit(i, t, prior));
    const pen = canvas.getContext("2d");
    const [wide, high] = [canvas.width / n, canvas.height / T];
    let forced = 0;
    for (let t = 1; t <= T; t++) {
      for (let i = 0; i < n; i++) {
        forced += r(i, t);
        pen.fillStyle = shade(r(i, t));
        pen.fillRect(i * wide, (t - 1) * high, wide + 1, high + 1);
      }
    }
    pen.strokeStyle = "#D55E00";
    pen.lineWidth = 2;
    pen.strokeRect(1, (at.t.value - 1) * high, canvas.width - 2, high);
    const now = [...Array(n).keys()].map((i) => r(i, at.t.value));
    bars.replaceChildren(
      ...now.map((value, i) =>
        element("rect", { x: (i * 640) / n, y: 120 - 118 * value, width: 600 / n, height: 118 * value, fill: "#0072B2" }),
      ),
      element("line", { x1: 0, x2: 640, y1: 119.5, y2: 119.5, stroke: "currentColor" }),
    );
    const open = now.filter((value) => value > 0.5).length;
    says.textContent =
      `At step ${at.t.value} of ${T}, ${open} of ${n} positions are more likely open than settled. Over all steps the prior ` +
      `alone forces ${forced.toFixed(1)} overwrites on a text of ${n} tokens.`;
    canvas.setAttribute("aria-label", `Heat map of r for ${n} positions and ${T} steps. ${says.textContent}`);
    bars.setAttribute("aria-label", `r at step ${at.t.value}, from ${now[0].toFixed(2)} at the first to ${now[n - 1].toFixed(2)} at the last position`);
    root.dataset.forced = forced;
  }
  draw();
}
