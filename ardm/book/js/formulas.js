/* The formulas of ardm/signals.py, ardm/prior.py and ardm/gate.py; a test compares both on a grid. Logarithms are natural. */
const formulas = {
  logSoftmax(logits) {
    const top = Math.max(...logits);
    const log = top + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - top), 0));
    return logits.map((z) => z - log);
  },

  sigmoid: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),

  entropy: (logQ) => -logQ.reduce((sum, l) => sum + (l === -Infinity ? 0 : Math.exp(l) * l), 0),

  margin(logQ) {
    const [first, second] = [...logQ].sort((a, b) => b - a);
    return first - second;
  },

  argmax: (values) => values.indexOf(Math.max(...values)),

  /* How the log-probability of a token, by default the first choice, moved in one step. */
  confidenceChange: (logQ, before, token = formulas.argmax(logQ)) => (before ? logQ[token] - before[token] : 0),

  /* The logit of r at position i, from 0, and step t, from 1. */
  priorLogit: (i, t, { n, T, alpha, delta }) => alpha * ((T / n) * (i + delta) - t),

  /* The logit of 1 - (1 - u)(1 - r), from the logits of u and r. */
  either(a, b) {
    const terms = [a, b, a + b];
    const top = Math.max(...terms);
    return top + Math.log(terms.reduce((sum, x) => sum + Math.exp(x - top), 0));
  },

  combine: {
    noisy_or: (u, r) => formulas.either(u, r),
    product: (u, r) => -formulas.either(-u, -r),
    logit_sum: (u, r) => u + r,
    gate_only: (u) => u,
    prior_only: (u, r) => r,
  },

  /* Signals, u, r and p of one token. beta: {bias, entropy, margin, confidence_change, placed_log_prob}, on the raw signals. */
  gate({ logits, before, placed, i, t, beta, prior, combine }) {
    const logQ = formulas.logSoftmax(logits);
    const logBefore = before && formulas.logSoftmax(before);
    const signals = {
      entropy: formulas.entropy(logQ),
      margin: formulas.margin(logQ),
      confidence_change: formulas.confidenceChange(logQ, logBefore),
      placed_log_prob: logQ[placed],
    };
    const u = Object.entries(signals).reduce((sum, [name, value]) => sum + beta[name] * value, beta.bias);
    const r = formulas.priorLogit(i, t, prior);
    return { ...signals, u: formulas.sigmoid(u), r: formulas.sigmoid(r), p: formulas.sigmoid(formulas.combine[combine](u, r)) };
  },
};
