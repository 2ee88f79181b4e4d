// The model, in a thread of its own, so that the page answers while it works.

import { fromTensor, padded, pieces, toTensor } from "./pixels.js";

const CORE = 512; // pixels of a piece's side: with margins, some hundred MB while the light model works on it

const here = new URL("./", import.meta.url);
const loaded = {}; // the runtime, and one direction's session: a second one would double the memory

/** A message that is meant for the visitor. */
class Refusal extends Error {}

async function download(url, bytes, told) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Refusal("The model could not be fetched. Check the connection and try again.");
  }
  if (!response.ok) throw new Refusal(`The model could not be fetched (${response.status}). Try again later.`);
  const parts = [];
  const reader = response.body.getReader();
  for (let received = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    told(received, bytes);
  }
  const whole = new Uint8Array(await new Blob(parts).arrayBuffer());
  if (bytes && whole.length !== bytes) throw new Refusal("The model arrived incomplete. Try again.");
  return whole;
}

async function graphicsCard() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter && !adapter.info?.isFallbackAdapter; // a software adapter is slower than WebAssembly
  } catch {
    return false;
  }
}

async function startRuntime(model, webgpu, told) {
  const files = model.runtime[webgpu ? "webgpu" : "wasm"];
  const ort = await import(new URL(files.script, here));
  ort.env.wasm.numThreads = 1; // more need headers that a static page inside another one does not get
  ort.env.wasm.wasmBinary = (await download(new URL(files.binary, here), files.bytes, told)).buffer;
  ort.env.logLevel = "error";
  return { ort, provider: webgpu ? "webgpu" : "wasm" };
}

async function openSession(model, direction, webgpu, told) {
  const files = model.directions[direction];
  const [graph, weights] = [new URL(files.graph, here), new URL(files.weights, here)];
  const [runtime, graphBytes, weightBytes] = [
    loaded.runtime ?? (await startRuntime(model, webgpu, told)),
    await download(graph, files.graph_bytes, () => {}),
    await download(weights, files.weights_bytes, told),
  ];
  loaded.runtime = runtime;
  return runtime.ort.InferenceSession.create(graphBytes, {
    executionProviders: [runtime.provider],
    externalData: [{ path: files.weights.split("/").pop(), data: weightBytes }],
    logSeverityLevel: 3,
  });
}

async function session(model, direction, told) {
  if (loaded.direction === direction) return loaded.session;
  await loaded.session?.release();
  loaded.direction = loaded.session = null;
  const webgpu = loaded.runtime ? loaded.runtime.provider === "webgpu" : await graphicsCard();
  try {
    loaded.session = await openSession(model, direction, webgpu, told);
  } catch (error) {
    if (!webgpu || error instanceof Refusal) throw error;
    loaded.runtime = null; // a graphics card that promises what it cannot do
    loaded.session = await openSession(model, direction, false, told);
  }
  loaded.direction = direction;
  return loaded.session;
}

async function translate({ model, direction, pixels, width, height }) {
  if (!model.margin && width * height > model.max_pixels) {
    throw new Refusal(
      `This model sees a photo as a whole, and ${Math.round(model.max_pixels / 1e6)} megapixels are the most: ` +
        "choose a smaller size.",
    );
  }
  const size = { width, height };
  const network = await session(model, direction, (received, bytes) =>
    postMessage({ type: "progress", stage: "download", share: bytes ? received / bytes : null }),
  );
  const { source, target } = model.directions[direction];
  const rows = padded(height, model);
  const columns = padded(width, model);
  const core = model.margin ? CORE : Infinity;
  const down = pieces(rows.total, core, model.margin ?? 0);
  const across = pieces(columns.total, core, model.margin ?? 0);
  const rgba = new Uint8ClampedArray(pixels);
  const result = new Uint8ClampedArray(rgba.length);
  const started = performance.now();
  let done = 0;
  for (const row of down) {
    for (const column of across) {
      const looked = { height: row.end - row.start, width: column.end - column.start };
      const part = { top: row.start - rows.before, left: column.start - columns.before, ...looked };
      const input = toTensor(rgba, size, part, model.spaces[source]);
      const { Tensor } = loaded.runtime.ort;
      const shape = [1, model.spaces[source].num_channels, looked.height, looked.width];
      const sample = new Tensor("float32", input, shape);
      const { translation } = await network.run({ sample });
      const output = await translation.getData();
      fromTensor(
        output,
        looked,
        { top: row.from - row.start, left: column.from - column.start, height: row.to - row.from, width: column.to - column.from },
        result,
        size,
        { top: row.from - rows.before, left: column.from - columns.before },
        model.spaces[target],
      );
      translation.dispose();
      done++;
      postMessage({ type: "progress", stage: "translate", share: done / (down.length * across.length) });
    }
  }
  const seconds = (performance.now() - started) / 1000;
  postMessage({ type: "done", pixels: result.buffer, width, height, seconds, provider: loaded.runtime.provider }, [
    result.buffer,
  ]);
}

onmessage = async ({ data }) => {
  try {
    await translate(data);
  } catch (error) {
    console.error(error);
    const message = error instanceof Refusal ? error.message : "The translation failed. A smaller size may work.";
    postMessage({ type: "error", message });
  }
};
