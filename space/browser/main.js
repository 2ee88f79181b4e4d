// The page: a photo in, its translation out. The model works in `worker.js`.

const MAX_BYTES = 60e6; // of a file
const MAX_PIXELS = 64e6; // of a decoded photo: 256 MB
const MIN_SIDE = 32;

const find = (id) => document.getElementById(id);
const controls = find("controls");
const state = { model: null, photo: null, name: "photo", worker: null, busy: false };

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

async function begin() {
  const response = await fetch("model.json");
  if (!response.ok) throw new Error(`model.json: ${response.status}`);
  state.model = await response.json();
  const labels = Object.entries(state.model.directions).map(([name, direction]) => [
    name,
    [direction.source, direction.target].map((domain) => titled(state.model.domains[domain])),
  ]);
  const title = labels[0][1].join(labels.length === 2 ? " ↔ " : " → ");
  find("title").textContent = title;
  document.title = `${title} · CycleGAN in your browser`;
  labels.forEach(([name, ends], number) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "direction", value: name });
    input.checked = number === 0;
    label.append(input, ` ${ends.join(" → ")}`);
    find("directions").append(label);
  });
  const megabytes = Math.round((state.model.runtime.wasm.bytes + state.model.directions[labels[0][0]].weights_bytes) / 1e6);
  find("facts").textContent = `The first translation fetches the model, about ${megabytes} MB. ${state.model.name}.`;
  ready();
}

function ready() {
  find("translate").disabled = state.busy || !state.photo || !state.model;
  find("cancel").hidden = !state.busy;
}

/** Opens a file upright, on white, in sRGB, as the canvas sees it; refuses what is none or too large. */
async function open(file) {
  if (file.size > MAX_BYTES) throw new Error(`This file is too large: ${MAX_BYTES / 1e6} MB are the most.`);
  if (file.type === "image/svg+xml" || /\.svgz?$/i.test(file.name)) {
    throw new Error("A drawing (SVG) has no pixels to translate. Try a JPEG, PNG or WebP file.");
  }
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
  if (Math.min(bitmap.width, bitmap.height) < MIN_SIDE) {
    throw new Error(`This picture is too small: ${bitmap.width} × ${bitmap.height} pixels. ${MIN_SIDE} × ${MIN_SIDE} are the least.`);
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    throw new Error(`This picture is too large: ${MAX_PIXELS / 1e6} megapixels are the most.`);
  }
  return bitmap;
}

async function choose(file) {
  if (!file || state.busy) return;
  try {
    state.photo?.close();
    state.photo = null;
    state.photo = await open(file);
    state.name = file.name?.replace(/\.[^.]*$/, "") || "photo";
    const preview = find("photo");
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    find("invitation").hidden = true;
    say(`${state.photo.width} × ${state.photo.height} pixels.`);
  } catch (error) {
    find("photo").hidden = true;
    find("invitation").hidden = false;
    complain(error.message);
  }
  ready();
}

/** The photo's pixels on white, with its longest side at most `longest` (0: as it is). */
function pixels(photo, longest) {
  const scale = longest ? Math.min(1, longest / Math.max(photo.width, photo.height)) : 1;
  const canvas = find("before");
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
  state.worker?.terminate(); // its model goes with it, and comes back from the browser's cache
  state.worker = null;
  stop();
  say("Cancelled.");
}

async function finish({ pixels: buffer, width, height, seconds, provider }) {
  const canvas = find("after");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(buffer), width, height), 0, 0);
  const { source, target } = state.model.directions[state.direction];
  find("source").textContent = titled(state.model.domains[source]);
  find("target").textContent = titled(state.model.domains[target]);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const link = find("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = `${state.name.replace(/[^\p{L}\p{N}_-]+/gu, "_").slice(0, 40)}-${state.model.domains[target]}.png`;
  find("result").hidden = false;
  slide(50);
  stop();
  const where = provider === "webgpu" ? "graphics card" : "processor";
  say(`${width} × ${height} pixels in ${seconds.toFixed(1)} s on your ${where}.`);
  if (find("result").getBoundingClientRect().top > innerHeight / 3) find("result").scrollIntoView({ behavior: "smooth" });
}

function slide(share) {
  find("slider").value = share;
  find("frame").style.setProperty("--share", `${share}%`);
}

function start() {
  state.worker ??= new Worker("worker.js", { type: "module" });
  state.worker.onmessage = ({ data }) => {
    if (data.type === "progress") progress(data);
    else if (data.type === "done") finish(data);
    else {
      stop();
      complain(data.message);
    }
  };
  state.worker.onerror = () => {
    cancel();
    complain("This browser cannot run the model. A current Chrome, Edge, Firefox or Safari can.");
  };
  return state.worker;
}

controls.addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.busy || !state.photo) return;
  state.busy = true;
  state.direction = controls.elements.direction.value;
  find("result").hidden = true;
  find("progress").hidden = false;
  progress({ stage: "translate", share: null });
  ready();
  const { data, width, height } = pixels(state.photo, Number(controls.elements.side.value));
  const message = { model: state.model, direction: state.direction, pixels: data.buffer, width, height };
  start().postMessage(message, [data.buffer]);
});

find("cancel").addEventListener("click", cancel);
find("file").addEventListener("change", (event) => choose(event.target.files[0]));
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
