/* What is shown, as the fragment of a link: rule, seed, T and threshold, the text by its words with _ for what is hidden, which
   positions are kept; for a step of a run, the step and the text that the run started from. */
const address = {
  write({ rule, seed, T, threshold, kept, text, start, step }, words) {
    const named = (x) => x.map((token) => words[token] ?? "_").join(" ");
    const held = kept.map((yes, i) => i).filter((i) => kept[i]).join(" ");
    const parts = { rule, seed, T, threshold, text: named(text), ...(held && { kept: held }), ...(start && { step, start: named(start) }) };
    return `#${new URLSearchParams(parts)}`;
  },

  /* The state of a fragment; null where it holds none. Throws what is wrong with it. */
  read(fragment, { words, length, rules }) {
    const given = new URLSearchParams(fragment.replace(/^#/, ""));
    if (!given.has("rule")) return null;
    const number = (name, low, high, whole = true) => {
      const value = Number(given.get(name) || NaN);
      if (!(value >= low && value <= high) || (whole && !Number.isInteger(value))) throw new Error(`${name} is not a number from ${low} to ${high}`);
      return value;
    };
    const tokens = (name) => {
      const found = (given.get(name) ?? "").split(" ");
      if (found.length !== length) throw new Error(`${name} has not ${length} words`);
      const unknown = found.find((word) => word !== "_" && !words.includes(word));
      if (unknown !== undefined) throw new Error(`${name} has a word that the language has not`);
      return found.map((word) => (word === "_" ? words.length : words.indexOf(word)));
    };
    const rule = given.get("rule");
    if (!Object.hasOwn(rules, rule)) throw new Error("it names no rule of this page");
    const state = { rule, seed: number("seed", 0, 999), T: number("T", 1, 32), threshold: number("threshold", 0, 1, false), text: tokens("text") };
    const held = (given.get("kept") ?? "").split(" ").filter(Boolean).map(Number);
    state.kept = state.text.map((_, i) => held.includes(i));
    if (given.has("step")) Object.assign(state, { step: number("step", 0, state.T), start: tokens("start") });
    return state;
  },
};
