// What Gradio leaves out: keys for the slider, the tabs and the choices, names for screen readers, results that are
// announced, and why a camera or the clipboard does not answer.
() => {
  const clamp = (share) => Math.min(1, Math.max(0, share));

  const position = (handle, picture) => {
    const box = picture.getBoundingClientRect();
    const grip = handle.getBoundingClientRect();
    return clamp((grip.left + grip.width / 2 - box.left) / box.width);
  };

  const describe = (handle, picture) => {
    const percent = Math.round(position(handle, picture) * 100);
    if (handle.getAttribute("aria-valuenow") === String(percent)) return;
    handle.setAttribute("aria-valuenow", percent);
    handle.setAttribute("aria-valuetext", `${percent} % of the picture shows before`);
  };

  // The slider only listens to drags, so a key becomes one.
  const drag = (handle, picture, to) => {
    const box = picture.getBoundingClientRect();
    const grip = handle.getBoundingClientRect();
    const y = grip.top + grip.height / 2;
    const send = (target, type, x) =>
      target.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true, view: window, clientX: x, clientY: y }));
    send(handle, "mousedown", grip.left + grip.width / 2);
    send(window, "mousemove", box.left + to * box.width);
    send(window, "mouseup", box.left + to * box.width);
  };

  const slider = () => {
    const handle = document.querySelector("#result [data-testid=slider]");
    const [before, after] = document.querySelectorAll("#result img");
    if (!handle || !after) return;
    before.alt = "Before: your photo";
    after.alt = "After: its translation";
    if (handle.role !== "slider") {
      handle.role = "slider";
      handle.tabIndex = 0;
      handle.ariaLabel = "Line between before and after";
      handle.ariaValueMin = 0;
      handle.ariaValueMax = 100;
      handle.addEventListener("keydown", (event) => {
        const picture = document.querySelector("#result img");
        const now = position(handle, picture);
        const step = event.shiftKey ? 0.1 : 0.02;
        const to = { ArrowLeft: now - step, ArrowRight: now + step, Home: 0, End: 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        drag(handle, picture, clamp(to));
      });
    }
    describe(handle, before);
  };

  // One station of the Tab key for each group of tabs or choices; the arrows move inside it, as everywhere else.
  const stations = () => {
    for (const list of document.querySelectorAll("[role=tablist]")) {
      for (const tab of list.querySelectorAll("[role=tab]")) tab.tabIndex = tab.ariaSelected === "true" ? 0 : -1;
    }
    for (const group of document.querySelectorAll("fieldset")) {
      const radios = [...group.querySelectorAll("input[type=radio]")];
      const chosen = radios.find((radio) => radio.checked) ?? radios[0];
      for (const radio of radios) radio.tabIndex = radio === chosen ? 0 : -1;
    }
  };

  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const at = event.target;
    if (!step || !(at instanceof Element) || event.altKey || event.ctrlKey || event.metaKey) return;
    const isTab = at.getAttribute("role") === "tab";
    const isRadio = at.matches("input[type=radio]");
    if (!isTab && !isRadio) return;
    const kind = isTab ? "[role=tab]" : "input[type=radio]";
    const group = at.closest(isTab ? "[role=tablist]" : "fieldset") ?? document;
    const all = [...group.querySelectorAll(kind)].filter((each) => each.offsetParent && !each.disabled);
    const next = all[(all.indexOf(at) + step + all.length) % all.length];
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    next.click();
    next.focus();
  }, true);

  const PICTURES = {
    grid: "Pictures, their translations, and the way back",
    cycle: "The way back",
    difference: "Where it changed",
  };
  const names = () => {
    for (const status of document.querySelectorAll("#info, #clip-info, #batch-progress")) status.ariaLive = "polite";
    for (const group of document.querySelectorAll("fieldset:not([aria-label])")) {
      const title = group.querySelector("[data-testid=block-info]");
      if (title) group.ariaLabel = title.textContent.trim();
    }
    for (const example of document.querySelectorAll("#examples button:not([aria-label])")) {
      const name = example.querySelector("img")?.src.match(/([^/]+)\.\w+$/)?.[1];
      if (name) example.ariaLabel = `Example: ${name}`;
    }
    // Gradio's own: a name that says other words than can be read, a name where none may be, a button without one.
    for (const button of document.querySelectorAll("button.upload-container[aria-label]")) button.ariaLabel = null;
    for (const empty of document.querySelectorAll("div[aria-label='Empty value']:not([role])")) empty.role = "img";
    for (const [id, name] of Object.entries(PICTURES)) {
      const picture = document.querySelector(`#${id} img`);
      if (picture && picture.alt !== name) picture.alt = name;
      const button = picture?.closest("button");
      if (button && !button.ariaLabel) button.ariaLabel = `${name}: enlarge`;
    }
  };

  // A browser that refuses a camera or the clipboard tells the page, and Gradio keeps it to itself.
  const say = (message) => {
    const notice = document.querySelector("#notice") ?? document.body.appendChild(document.createElement("div"));
    notice.id = "notice";
    notice.setAttribute("role", "alert");
    notice.textContent = message;
    clearTimeout(notice.timer);
    notice.timer = setTimeout(() => notice.remove(), 8000);
  };
  const watch = (owner, name, sentence) => {
    const original = owner?.[name]?.bind(owner);
    if (!original) return false;
    owner[name] = (...settings) =>
      original(...settings).catch((error) => {
        say(sentence(error));
        throw error;
      });
    return true;
  };
  const camera = watch(navigator.mediaDevices, "getUserMedia", (error) =>
    error.name === "NotFoundError" || error.name === "OverconstrainedError"
      ? "No camera was found. Upload a photo instead."
      : error.name === "NotAllowedError"
        ? "The browser did not allow the camera. Allow it for this page, or upload a photo."
        : "The camera cannot be used now. Another program may have it.",
  );
  const clipboard = watch(navigator.clipboard, "read", () =>
    "The browser did not allow to read the clipboard. Allow it for this page, or press Ctrl+V on the photo.",
  );
  document.addEventListener("click", (event) => {
    const label = event.target.closest?.("button")?.ariaLabel ?? "";
    if (!camera && /camera/i.test(label)) say("This browser offers no camera here. Cameras need an https address.");
    if (!clipboard && /clipboard/i.test(label)) say("This browser does not let a page read the clipboard here.");
  });

  let due = false;
  const arm = () => {
    due = false;
    names();
    stations();
    slider();
  };
  const soon = () => {
    if (!due) requestAnimationFrame(arm);
    due = true;
  };
  new MutationObserver(soon).observe(document.body, {
    childList: true,
    subtree: true,
    attributes: true,
    attributeFilter: ["style", "aria-selected", "class"],
  });
  document.addEventListener("change", soon, true);
  arm();
}
