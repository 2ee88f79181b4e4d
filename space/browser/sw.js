// Keeps the page's files, so that a later visit works without a connection. `build.py` fills in the two lines below.
// The model's weights are kept by `worker.js`, when they are first fetched.

const VERSION = "development";
const FILES = ["./"];

const NAME = `page-${VERSION}`;

addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(NAME)
      .then((cache) => cache.addAll(FILES))
      .then(() => skipWaiting()),
  );
});

addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("page-") && name !== NAME);
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(old(names).map((name) => caches.delete(name))))
      .then(() => clients.claim()),
  );
});

/** The network first, so that a new version is seen at once; what is kept where there is no network. */
async function answer(request) {
  try {
    const response = await fetch(request);
    if (response.ok) await (await caches.open(NAME)).put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await caches.match(request, { ignoreSearch: true });
    if (kept) return kept;
    if (request.mode === "navigate") return (await caches.match("./")) ?? Promise.reject(error);
    throw error;
  }
}

addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const isOurs = new URL(url).origin === location.origin && method === "GET";
  const isLarge = /\/(model\/.*|runtime\/.*\.gz)(\?|$)/.test(url); // `worker.js` keeps these itself
  if (isOurs && !isLarge) event.respondWith(answer(event.request));
});
