// The model, in a thread of its own, so that the page answers while it works.

import { fromTensor, padded, pieces, toTensor } from "./pixels.js";

const CORE = 512; // pixels of a piece's side: with margins, some hundred MB while the light model works on it

const here = new URL("./", import.meta.url);
const loaded = {}; // the runtime, and one direction's session: a second one would double the memory

/** A message that is meant for the visitor. */
class Refusal extends Error {}

const KEPT = "cyclegan-model";

/** What a former visit kept; nothing where the browser keeps nothing (an http address, a private window). */
async function kept(url) {
  try {
    return await (await caches.open(KEPT)).match(url);
  } catch {
    return undefined;
  }
}

async function keep(url, content) {
  try {
    await (await caches.open(KEPT)).put(url, new Response(content));
  } catch (error) {
    console.warn("The model could not be kept for the next visit.", error);
  }
}

/** Forgets what belongs to an earlier version of the page's model. */
async function forgetOthers(model) {
  const current = new Set();
  for (const files of Object.values(model.directions)) current.add(files.graph).add(files.weights);
  for (const files of Object.values(model.runtime)) current.add(files.binary);
  const addresses = new Set([...current].map((file) => new URL(file, here).href));
  try {
    const cache = await caches.open(KEPT);
    for (const request of await cache.keys()) if (!addresses.has(request.url)) await cache.delete(request);
  } catch {
    // nothing is kept
  }
}

async function unpacked(bytes) {
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b; // some servers unpack it on the way
  if (!isPacked) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Fetches a file, or takes what a former visit kept. Its address changes with its content. */
async function download(url, bytes, told) {
  const before = await kept(url);
  if (before) return unpacked(new Uint8Array(await before.arrayBuffer()));
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
  const isWhole = !bytes || whole.length === bytes || response.headers.get("content-encoding");
  if (!isWhole) throw new Refusal("The model arrived incomplete. Try again.");
  await keep(url, whole);
  return unpacked(whole);
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
    externalData: [{ path: weights.pathname.split("/").pop(), data: weightBytes }],
    logSeverityLevel: 3,
  });
}

async function session(model, direction, backend, told) {
  if (loaded.direction === direction) return loaded.session;
  await loaded.session?.release();
  loaded.direction = loaded.session = null;
  const wanted = backend ? backend === "webgpu" : await graphicsCard();
  const webgpu = loaded.runtime ? loaded.runtime.provider === "webgpu" : wanted;
  try {
    loaded.session = await openSession(model, direction, webgpu, told);
  } catch (error) {
    if (!webgpu || error instanceof Refusal) throw error;
    loaded.runtime = null; // a graphics card that promises what it cannot do
    loaded.session = await openSession(model, direction, false, told);
  }
  loaded.direction = direction;
  await forgetOthers(model);
  return loaded.session;
}

const breathe = () => new Promise((done) => setTimeout(done)); // lets a later job's message in

async function translate({ model, direction, backend, token, pixels, width, height }) {
  if (!model.margin && width * height > model.max_pixels) {
    throw new Refusal(
      `This model sees a photo as a whole, and ${Math.round(model.max_pixels / 1e6)} megapixels are the most: ` +
        "choose a smaller size.",
    );
  }
  const size = { width, height };
  const network = await session(model, direction, backend, (received, bytes) =>
    postMessage({ type: "progress", token, stage: "download", share: bytes ? Math.min(1, received / bytes) : null }),
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
      await breathe();
      if (token !== latest) return;
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
      postMessage({ type: "progress", token, stage: "translate", share: done / (down.length * across.length) });
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const { provider } = loaded.runtime;
  postMessage({ type: "done", token, pixels: result.buffer, width, height, seconds, provider }, [result.buffer]);
}

let latest = 0; // the job that the visitor waits for; earlier ones end at their next piece
let line = Promise.resolve();

async function work(job) {
  if (job.token !== latest) return;
  try {
    await translate(job);
  } catch (error) {
    console.error(error);
    const message = error instanceof Refusal ? error.message : "The translation failed. A smaller size may work.";
    postMessage({ type: "error", token: job.token, message });
  }
}

onmessage = ({ data }) => {
  latest = data.token;
  line = line.then(() => work(data));
};
