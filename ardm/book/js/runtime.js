/* The toy denoiser and its gates, run by onnxruntime-web. All that is fetched lies in the book's own folder, so that a page opened
   from a file works too; the browser keeps it as it keeps any script. */
function load(source) {
  return new Promise((done, failed) => {
    const script = element("script", { src: source });
    script.onload = done;
    script.onerror = () => failed(new Error(`${source.split("/").pop()} did not come`));
    document.head.append(script);
  });
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));

async function unzipped(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function loadModel(folder, { words, length, prior, files }) {
  await Promise.all(files.map((file) => load(folder + file)));
  const wasm = new Blob([await unzipped(globalThis.ARDM_WASM)], { type: "application/wasm" });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.simd = false;
  ort.env.wasm.wasmPaths = { "ort-wasm.wasm": URL.createObjectURL(wasm) };
  const sessions = {};
  for (const [name, graph] of Object.entries(globalThis.ARDM_TOY)) {
    sessions[name] = await ort.InferenceSession.create(bytesOf(graph), { executionProviders: ["wasm"] });
  }
  const floats = (values, ...shape) => new ort.Tensor("float32", Float32Array.from(values.flat()), [1, ...shape]);
  const tokens = (x) => new ort.Tensor("int64", BigInt64Array.from(x.map(BigInt)), [1, length]);
  return {
    words,
    prior,
    async predict(x) {
      const { logits, hidden } = await sessions.denoiser.run({ x: tokens(x) });
      return { logits: Array.from(logits.data), hidden };
    },
    async judge(gate, { x, hidden, signals, time, r }) {
      const feeds = { hidden, signals: floats(signals, length, signals[0].length), time: new ort.Tensor("float32", [time], [1]), prior: floats(r, length) };
      if (sessions[gate].inputNames.includes("x")) feeds.x = tokens(x); // a gate that reads the tokens themselves
      return Array.from((await sessions[gate].run(feeds)).logit_u.data);
    },
  };
}
