/* The loop of ardm/method/sampling.py for one text, and those rules of ardm/method/rules that the page offers. A seed gives the same
   text as there; a test compares tokens and events at every step. */

/* The token whose stretch of the cumulative distribution holds the uniform number u < 1, as ardm/method/draw.py draws it. The last
   edge is the sum itself, which u times the sum never reaches. */
function draw(logQ, u) {
  const top = Math.max(...logQ);
  const weights = logQ.map((l) => Math.exp(l - top));
  const target = u * weights.reduce((sum, weight) => sum + weight, 0);
  let edge = 0;
  return weights.findIndex((weight) => (edge += weight) > target);
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
  const last = Math.max(1, Math.ceil(0.6 * T));
  const allowed = Math.floor((open * Math.max(0, last - t)) / last);
  const masks = isMask.filter(Boolean).length;
  return lowest(logQ.map((row) => -Math.max(...row)), isMask, masks - allowed);
}

const nothing = (step) => step.isMask.map(() => false);

/* Hide what the gate of the name doubts most, at most four tokens a step; the last step overwrites in place. */
function hideBy(gate, threshold) {
  return {
    gate,
    threshold,
    act(step, { threshold }) {
      const suspect = step.logitU.map((u, i) => formulas.sigmoid(u) > threshold && !step.isMask[i] && !step.isFixed[i]);
      const chosen = lowest(step.logitU.map((u) => -u), suspect, 4);
      const write = onSchedule(step);
      if (step.t === step.T) return { write: write.map((yes, i) => yes || chosen[i]), remask: nothing(step) };
      return { write, remask: chosen };
    },
  };
}

const rules = {
  "gate: hide, then refill": hideBy("gate", 0.5),
  "repair gate: hide, then refill": hideBy("repair", 0.5),
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
      const p = 1 / (step.T - step.t + 1);
      const drawn = step.uniform(step.x.length);
      return { write: step.isMask.map((mask, i) => mask && drawn[i] < p), remask: nothing(step) };
    },
  },
  "uniform refinement": {
    act: (step) => ({ write: step.uniform(step.x.length).map((u, i) => u < 0.5 && !step.isFixed[i]), remask: nothing(step) }),
  },
  "left-to-right": {
    act(step) {
      const masks = step.isMask.filter(Boolean).length;
      return { write: lowest(step.x.map((_, i) => i), step.isMask, Math.ceil(masks / (step.T - step.t + 1))), remask: nothing(step) };
    },
  },
};

/* What the gate is shown of each token: as ardm.method.gate.OverwriteGate.features, before standardisation. */
function rawSignals({ logQ, before, x, isMask }) {
  const held = (value) => Math.min(30, Math.max(-30, value));
  return logQ.map((row, i) => [
    held(formulas.entropy(row)),
    held(formulas.margin(row)),
    held(formulas.confidenceChange(row, before && before[i])),
    held(isMask[i] ? 0 : row[x[i]]),
  ]);
}

/* What happened to a token, in the words of ardm.method.sampling.EVENTS. */
function eventOf({ before, after, write, remask, V }) {
  if (remask) return "hidden again";
  if (!write) return after === V ? "hidden" : "kept";
  if (before === V) return "written";
  return after === before ? "rewritten, unchanged" : "changed";
}

/* Whether the language has this text: a walk over its automaton, `law`. */
function allowed(x, { start, accepts, edges }) {
  const end = x.reduce((state, token) => (state === undefined ? state : edges[state][token]), start);
  return accepts.includes(end);
}

/* Refine x over T calls. `model`: predict(x) -> {logits, hidden}, judge(gate, {x, hidden, signals, time, r}) -> logits of u, words, prior.
   Returns a frame for the start and for every step: the tokens, what happened to each, p. */
async function sample(model, { x, fixed, T, rule, threshold, seed }) {
  const [V, L] = [model.words.length, x.length];
  const [proposals, choices] = [streams.chance(seed, "proposals"), streams.chance(seed, "choices")];
  const frames = [{ x: [...x], events: x.map((token) => (token === V ? "hidden" : "given")) }];
  const overwrites = x.map(() => 0);
  let before = null;
  for (let t = 1; t <= T; t++) {
    const { logits, hidden } = await model.predict(x);
    const logQ = x.map((_, i) => formulas.logSoftmax(logits.slice(i * V, (i + 1) * V)));
    const drawn = proposals(t)(L);
    const proposal = logQ.map((row, i) => draw(row, drawn[i]));
    const isMask = x.map((token) => token === V);
    const step = { t, T, x, logQ, before, isMask, isFixed: fixed, overwrites, uniform: choices(t) };
    if (rules[rule].gate) {
      const r = x.map((_, i) => formulas.sigmoid(formulas.priorLogit(i, t, { n: L, T, ...model.prior })));
      step.logitU = await model.judge(rules[rule].gate, { x, hidden, signals: rawSignals(step), time: t / T, r });
    }
    const action = rules[rule].act(step, { threshold });
    const last = t === T;
    const write = action.write.map((yes, i) => yes || (last && isMask[i]));
    const remask = action.remask.map((yes) => yes && !last);
    const after = x.map((token, i) => (remask[i] ? V : write[i] ? proposal[i] : token));
    const events = x.map((token, i) => eventOf({ before: token, after: after[i], write: write[i], remask: remask[i], V }));
    x.forEach((_, i) => (overwrites[i] += (write[i] && !isMask[i]) || remask[i] ? 1 : 0));
    const p = step.logitU && step.logitU.map((u, i) => (isMask[i] ? null : formulas.sigmoid(u)));
    frames.push({ x: after, events, p });
    [x, before] = [after, logQ];
  }
  return { frames };
}
