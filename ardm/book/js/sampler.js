/* The sampling loop of ardm/sampling.py for one text, and the rules of ardm/rules.py and ardm/rivals.py that the page offers.
   Given the same random numbers both write the same tokens; a test in the browser compares them. */

/* Numbers in [0, 1) with 53 random bits from a 32-bit seed: a counter and a hash of it (C. Wellons, "hash prospector"). */
function uniforms(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  return (count) => Array.from({ length: count }, () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992);
}

/* The places of lowest rank among those allowed, `count` of them; the left one of two equals. */
function lowest(rank, among, count) {
  const places = rank.map((_, i) => i).filter((i) => among[i]);
  const chosen = new Set(places.sort((a, b) => rank[a] - rank[b] || a - b).slice(0, Math.max(0, count)));
  return rank.map((_, i) => chosen.has(i));
}

/* Masks to write, the surest first, so many that none is left after six tenths of the steps. */
function onSchedule({ isMask, isFixed, logQ, t, T }) {
  const open = isFixed.filter((fixed) => !fixed).length;
  const wanted = Math.floor(open * Math.max(0, 1 - t / Math.max(1, Math.ceil(0.6 * T))));
  const masks = isMask.filter(Boolean).length;
  return lowest(logQ.map((row) => -Math.max(...row)), isMask, masks - wanted);
}

const nothing = (step) => step.isMask.map(() => false);

const rules = {
  "gate: hide, then refill": {
    gate: true,
    threshold: 0.5,
    act(step, { threshold }) {
      const suspect = step.logitU.map((u, i) => formulas.sigmoid(u) > threshold && !step.isMask[i] && !step.isFixed[i]);
      const chosen = lowest(step.logitU.map((u) => -u), suspect, 4);
      const write = onSchedule(step);
      if (step.t === step.T) return { write: write.map((yes, i) => yes || chosen[i]), remask: nothing(step) };
      return { write, remask: chosen };
    },
  },
  "low-prob: hide, then refill": {
    threshold: 0.3,
    act(step, { threshold }) {
      const q = step.logQ.map((row, i) => (step.isMask[i] ? 1 : Math.exp(row[step.x[i]])));
      const bad = q.map((value, i) => value < threshold && !step.isMask[i] && !step.isFixed[i] && step.overwrites[i] < 3);
      return { write: onSchedule(step), remask: lowest(q, bad, Math.floor(0.25 * q.length)) };
    },
  },
  "one-way": {
    act(step) {
      const chance = 1 / (step.T - step.t + 1);
      return { write: step.isMask.map((mask, i) => mask && step.choices[i] < chance), remask: nothing(step) };
    },
  },
  "uniform refinement": {
    act: (step) => ({ write: step.choices.map((u, i) => u < 0.5 && !step.isFixed[i]), remask: nothing(step) }),
  },
  "left-to-right": {
    act(step) {
      const masks = step.isMask.filter(Boolean).length;
      return { write: lowest(step.x.map((_, i) => i), step.isMask, Math.ceil(masks / (step.T - step.t + 1))), remask: nothing(step) };
    },
  },
};

/* What the gate is shown of each token: as ardm.gate.OverwriteGate.features, before standardisation. */
function rawSignals({ logQ, before, x, isMask }) {
  const held = (value) => Math.min(30, Math.max(-30, value));
  return logQ.map((row, i) => [
    held(formulas.entropy(row)),
    held(formulas.margin(row)),
    held(formulas.confidenceChange(row, before && before[i])),
    held(isMask[i] ? 0 : row[x[i]]),
  ]);
}

/* Refine x over T calls. `model`: predict(x) -> {logits, hidden}, judge(hidden, signals, t / T, r) -> logits of u, words, prior.
   Returns a frame a step: the tokens, what happened to each, p; and the random numbers that were used up. */
async function sample(model, { x, fixed, T, rule, threshold, seed }) {
  const [V, L] = [model.words.length, x.length];
  const [proposals, chances] = [uniforms(2 * seed), uniforms(2 * seed + 1)];
  const draws = { proposals: [], choices: [] };
  const frames = [{ x: [...x], events: x.map((token) => (token === V ? "hidden" : "")) }];
  const overwrites = x.map(() => 0);
  let before = null;
  for (let t = 1; t <= T; t++) {
    const { logits, hidden } = await model.predict(x);
    const logQ = x.map((_, i) => formulas.logSoftmax(logits.slice(i * V, (i + 1) * V)));
    const [noise, choices] = [proposals(L * V), chances(L)];
    draws.proposals.push(noise);
    draws.choices.push(choices);
    const proposal = logQ.map((row, i) => formulas.argmax(row.map((l, v) => l - Math.log(-Math.log1p(-noise[i * V + v])))));
    const isMask = x.map((token) => token === V);
    const step = { t, T, x, logQ, before, isMask, isFixed: fixed, overwrites, choices };
    if (rules[rule].gate) {
      const r = x.map((_, i) => formulas.sigmoid(formulas.priorLogit(i, t, { n: L, T, ...model.prior })));
      step.logitU = await model.judge(hidden, rawSignals(step), t / T, r);
    }
    const action = rules[rule].act(step, { threshold });
    const last = t === T;
    const write = action.write.map((yes, i) => yes || (last && isMask[i]));
    const remask = action.remask.map((yes) => yes && !last);
    const after = x.map((token, i) => (remask[i] ? V : write[i] ? proposal[i] : token));
    const events = x.map((token, i) => {
      if (remask[i]) return "cover";
      if (!write[i]) return after[i] === V ? "hidden" : "";
      if (isMask[i]) return "new";
      return after[i] === token ? "same" : "changed";
    });
    x.forEach((_, i) => (overwrites[i] += (write[i] && !isMask[i]) || remask[i] ? 1 : 0));
    const p = step.logitU && step.logitU.map((u, i) => (isMask[i] ? null : formulas.sigmoid(u)));
    frames.push({ x: after, events, p });
    [x, before] = [after, logQ];
  }
  return { frames, draws };
}
