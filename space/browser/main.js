// The page: a photo in, its translation out. The model works in `worker.js`.

import { dimensions } from "./headers.js";

const MAX_BYTES = 60e6; // of a file
const MAX_PIXELS = 64e6; // of a decoded photo: 256 MB
const MIN_SIDE = 32;
const HEAD_BYTES = 1 << 20; // in which a picture's size stands, also behind a preview of the camera's
const SEASONS = ["spring", "summer", "autumn", "winter"];

const find = (id) => document.getElementById(id);
const controls = find("controls");
// `turn` is the latest choice: what an earlier one still waits for is dropped when it comes.
const state = { model: null, photo: null, name: "photo", worker: null, busy: false, turn: 0 };
const backend = new URLSearchParams(location.search).get("backend"); // "webgpu" or "wasm"; by default the faster one

function say(message) {
  find("status").textContent = message;
  find("error").hidden = true;
}

function complain(message) {
  find("status").textContent = "";
  find("error").textContent = message;
  find("error").hidden = false;
}

function titled(name) {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function headline({ source, target }) {
  const [from, to] = [source, target].map((domain) => state.model.domains[domain].replaceAll("_", " "));
  const seasons = SEASONS.includes(from) && SEASONS.includes(to);
  return seasons ? `See your ${from} photo in ${to}` : `Turn your photo from ${from} to ${to}`;
}

async function begin() {
  const response = await fetch("model.json");
  if (!response.ok) throw new Error(`model.json: ${response.status}`);
  state.model = await response.json();
  const directions = Object.entries(state.model.directions);
  find("title").textContent = headline(directions[0][1]);
  document.title = `${find("title").textContent} · CycleGAN in your browser`;
  directions.forEach(([name, direction], number) => {
    const ends = [direction.source, direction.target].map((domain) => titled(state.model.domains[domain]));
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "direction", value: name });
    input.checked = number === 0;
    label.append(input, ` ${ends.join(" → ")}`);
    find("directions").append(label);
  });
  const bytes = state.model.runtime.wasm.bytes + directions[0][1].graph_bytes + directions[0][1].weights_bytes;
  find("facts").textContent =
    `The first translation fetches the model, about ${Math.round(bytes / 1e6)} MB, and keeps it for the next visit. ` +
    `${state.model.name}.`;
  offerSamples();
  ready();
}

function offerSamples() {
  const samples = state.model.samples ?? [];
  for (const sample of samples) {
    const button = Object.assign(document.createElement("button"), { type: "button", ariaLabel: `Example: ${sample.name}` });
    button.append(Object.assign(new Image(240, 180), { src: sample.thumbnail, alt: "" }));
    button.addEventListener("click", () => showSample(sample));
    find("strip").append(button);
  }
  find("samples").hidden = !samples.length;
  if (samples.length) showSample(samples[0], false);
}

async function picture(address) {
  const image = Object.assign(new Image(), { src: address });
  await image.decode();
  return image;
}

/** Shows a photo that comes with the page, and its translation, which was made with the page. */
async function showSample(sample, chosen = true) {
  const turn = ++state.turn;
  stop();
  try {
    const [before, after] = await Promise.all([picture(sample.before), picture(sample.after)]);
    if (turn !== state.turn) return;
    paint("before", before);
    paint("after", after);
    present(sample.direction, sample.after, `${sample.name}-${state.model.domains[sample.direction.at(-1)]}.jpg`);
    if (!chosen) return say("An example: drag the line. Now choose your photo.");
    const bitmap = await createImageBitmap(before);
    if (turn !== state.turn) return;
    accept(bitmap, sample.name, sample.before);
    controls.elements.direction.value = sample.direction;
    say("An example.");
    ready();
    reveal();
  } catch (error) {
    console.error(error);
    if (turn === state.turn && chosen) complain("This example could not be fetched. Check the connection.");
  }
}

function paint(id, image) {
  const canvas = find(id);
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
}

/** Shows the two canvases, with the line in the middle. */
function present(direction, address, name) {
  const { source, target } = state.model.directions[direction];
  find("source").textContent = titled(state.model.domains[source]);
  find("target").textContent = titled(state.model.domains[target]);
  const link = find("download");
  if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
  link.href = address;
  link.download = name;
  link.hidden = false;
  find("result").hidden = false;
  slide(50);
}

/** On a phone the result is above the controls. */
function reveal() {
  const { top, bottom } = find("result").getBoundingClientRect();
  if (!find("result").hidden && (top < 0 || bottom > innerHeight + 40)) find("result").scrollIntoView({ behavior: "smooth" });
}

function ready() {
  find("translate").disabled = state.busy || !state.photo || !state.model;
  find("translate").textContent = state.busy ? "Translating …" : "Translate";
  find("cancel").hidden = !state.busy;
}

function check({ width, height }) {
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Error(`This picture is too small: ${width} × ${height} pixels. ${MIN_SIDE} × ${MIN_SIDE} are the least.`);
  }
  if (width * height > MAX_PIXELS) {
    throw new Error(`This picture is too large: ${MAX_PIXELS / 1e6} megapixels are the most.`);
  }
}

/** Opens a file upright, on white, in sRGB, as the canvas sees it; refuses what is none or too large. */
async function open(file) {
  if (file.size > MAX_BYTES) throw new Error(`This file is too large: ${MAX_BYTES / 1e6} MB are the most.`);
  if (file.type === "image/svg+xml" || /\.svgz?$/i.test(file.name)) {
    throw new Error("A drawing (SVG) has no pixels to translate. Try a JPEG, PNG or WebP file.");
  }
  const size = dimensions(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
  if (size) check(size); // before a gigabyte of pixels is decoded
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    const heic = /\.hei[cf]$/i.test(file.name) || /hei[cf]/.test(file.type);
    throw new Error(
      heic
        ? "This browser cannot open HEIC photos. Save it as a JPEG first."
        : "This file cannot be opened as a picture. Try a JPEG, PNG or WebP file.",
    );
  }
  check(bitmap);
  return bitmap;
}

function accept(bitmap, name, address) {
  state.photo?.close();
  state.photo = bitmap;
  state.name = name;
  const preview = find("photo");
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.src = address;
  preview.hidden = false;
  find("invitation").hidden = true;
}

async function choose(file) {
  if (!file) return;
  const turn = ++state.turn;
  stop();
  say("Opening the photo …");
  try {
    const bitmap = await open(file);
    if (turn !== state.turn) return bitmap.close(); // a later photo was faster
    accept(bitmap, file.name?.replace(/\.[^.]*$/, "") || "photo", URL.createObjectURL(file));
    translate();
  } catch (error) {
    if (turn !== state.turn) return;
    state.photo?.close();
    state.photo = null;
    find("photo").hidden = true;
    find("invitation").hidden = false;
    complain(error.message);
  }
  ready();
}

/**
 * The photo's pixels on white, with its longest side at most `longest` (0: as it is). The shorter side keeps some rows,
 * so that something is left of a very long photo.
 */
function pixels(photo, longest) {
  const whole = Math.max(photo.width, photo.height);
  const shrunk = Math.max(longest / whole, MIN_SIDE / Math.min(photo.width, photo.height));
  const scale = longest ? Math.min(1, shrunk) : 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(photo.width * scale));
  canvas.height = Math.max(1, Math.round(photo.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function progress({ stage, share }) {
  const bar = find("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  say(stage === "download" ? "Fetching the model …" : "Translating …");
}

function stop() {
  state.busy = false;
  find("progress").hidden = true;
  ready();
}

function cancel() {
  state.turn++;
  state.worker?.terminate(); // its model goes with it, and comes back from what the browser keeps
  state.worker = null;
  stop();
  say("Stopped.");
}

async function finish({ token, pixels: buffer, width, height, seconds, provider }, { direction, before }) {
  const after = new ImageData(new Uint8ClampedArray(buffer), width, height);
  const result = Object.assign(document.createElement("canvas"), { width, height });
  result.getContext("2d").putImageData(after, 0, 0);
  const blob = await new Promise((done) => result.toBlob(done, "image/png"));
  if (token !== state.turn) return;
  for (const [id, image] of [
    ["before", before],
    ["after", after],
  ]) {
    Object.assign(find(id), { width, height }).getContext("2d").putImageData(image, 0, 0);
  }
  const domain = state.model.domains[state.model.directions[direction].target];
  const name = `${state.name.replace(/[^\p{L}\p{N}_-]+/gu, "_").slice(0, 40)}-${domain}.png`;
  present(direction, URL.createObjectURL(blob), name);
  stop();
  const where = provider === "webgpu" ? "graphics card" : "processor";
  say(`${width} × ${height} pixels in ${seconds.toFixed(1)} s on your ${where}.`);
}

function slide(share) {
  find("slider").value = share;
  find("frame").style.setProperty("--share", `${share}%`);
}

function worker() {
  state.worker ??= new Worker("worker.js", { type: "module" });
  state.worker.onerror = () => {
    cancel();
    complain("This browser cannot run the model. A current Chrome, Edge, Firefox or Safari can.");
  };
  return state.worker;
}

function translate() {
  if (!state.photo) return;
  const token = ++state.turn;
  const direction = controls.elements.direction.value;
  state.busy = true;
  find("progress").hidden = false;
  progress({ stage: "translate", share: null });
  ready();
  reveal();
  const before = pixels(state.photo, Number(controls.elements.side.value));
  const { width, height } = before;
  const running = worker();
  running.onmessage = ({ data }) => {
    if (data.token !== state.turn) return; // of an earlier choice
    if (data.type === "progress") progress(data);
    else if (data.type === "done") finish(data, { direction, before });
    else {
      stop();
      complain(data.message);
    }
  };
  const sent = before.data.slice().buffer;
  running.postMessage({ model: state.model, direction, backend, token, pixels: sent, width, height }, [sent]);
}

controls.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!state.busy) translate();
});
find("directions").addEventListener("change", translate);
find("cancel").addEventListener("click", cancel);
find("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
find("slider").addEventListener("input", (event) => slide(event.target.value));
const drop = find("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files[0]);
  });
}
addEventListener("paste", (event) => choose([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));

begin().catch((error) => {
  console.error(error);
  complain("The page is incomplete: its model is not described. Build it with build.py.");
});
navigator.serviceWorker?.register("sw.js").catch((error) => console.warn("The page will need a connection.", error));
