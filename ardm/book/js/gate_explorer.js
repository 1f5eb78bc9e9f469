function start(root, data) {
  const { words, tokens } = data;
  const NAMES = { entropy: "H", margin: "M", confidence_change: "Δ", placed_log_prob: "log q(placed)" };
  const weight = (name, value) => slider(name, { min: -4, max: 4, step: 0.1, value, says: fixed(1) }, draw);
  const beta = Object.fromEntries(Object.entries({ bias: "β₀, constant", entropy: "β of H", margin: "β of M", confidence_change: "β of Δ", placed_log_prob: "β of log q" }).map(([key, name]) => [key, weight(name, data.beta[key])]));
  const prior = {
    alpha: slider("α, slope", { min: 0.05, max: 4, step: 0.05, value: data.alpha, says: fixed(2) }, draw),
    delta: slider("δ, shift", { min: -8, max: 8, step: 0.5, value: data.delta, says: fixed(1) }, draw),
    t: slider("t, step", { min: 1, max: data.T, step: 1, value: data.t }, draw),
    T: slider("T, steps", { min: 1, max: 32, step: 1, value: data.T }, draw),
  };
  const combine = choice("how u and r make p", Object.keys(formulas.combine), data.combine, draw);
  const chosen = choice("token", tokens.map((token, i) => `${i}: ${words[token.placed]}`), `0: ${words[tokens[0].placed]}`, pick);
  const logits = words.map((word, v) => slider(`now, ${word}`, { min: -6, max: 6, step: 0.1, value: tokens[0].logits[v], says: fixed(1) }, edit));
  const before = words.map((word, v) => slider(`before, ${word}`, { min: -6, max: 6, step: 0.1, value: tokens[0].before[v], says: fixed(1) }, edit));
  const heads = ["i", "placed", "first", "p", "u", "r", ...Object.values(NAMES)];
  const body = element("tbody");
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))), body);
  root.append(
    element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Signals and probabilities of each token" }, table),
    element(
      "div",
      { class: "controls" },
      group("Logits of one token", chosen.node, ...logits.map((part) => part.node), ...before.map((part) => part.node)),
      element(
        "div",
        {},
        group("Weights of the signals", ...Object.values(beta).map((part) => part.node)),
        group("Prior", ...Object.values(prior).map((part) => part.node), combine.node),
      ),
    ),
  );
  const index = () => Number(chosen.value.split(":")[0]);

  function pick() {
    const token = tokens[index()];
    words.forEach((_, v) => {
      logits[v].value = token.logits[v];
      before[v].value = token.before[v];
    });
    draw();
  }

  function edit() {
    const token = tokens[index()];
    token.logits = logits.map((part) => part.value);
    token.before = before.map((part) => part.value);
    draw();
  }

  function draw() {
    const T = prior.T.value;
    prior.t.limit(T);
    const rows = tokens.map((token, i) => {
      const values = formulas.gate({
        ...token,
        i,
        t: prior.t.value,
        beta: Object.fromEntries(Object.entries(beta).map(([name, part]) => [name, part.value])),
        prior: { n: tokens.length, T, alpha: prior.alpha.value, delta: prior.delta.value },
        combine: combine.value,
      });
      const first = words[formulas.argmax(token.logits)];
      const share = (value) => element("td", { style: `background: linear-gradient(90deg, #0072B255 ${100 * value}%, transparent 0)` }, value.toFixed(3));
      return element(
        "tr",
        { "data-values": JSON.stringify(values), "aria-current": i === index() ? "true" : false },
        element("th", { scope: "row" }, String(i)),
        element("td", {}, words[token.placed]),
        element("td", {}, first),
        ...["p", "u", "r"].map((name) => share(values[name])),
        ...Object.keys(NAMES).map((name) => element("td", {}, fixed(2)(values[name]))),
      );
    });
    body.replaceChildren(...rows);
  }
  draw();
}
