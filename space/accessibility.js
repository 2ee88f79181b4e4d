// What Gradio leaves out: arrow keys for the image slider, names for screen readers, results that are announced.
() => {
  const position = (handle, picture) => {
    const box = picture.getBoundingClientRect();
    const grip = handle.getBoundingClientRect();
    return Math.min(1, Math.max(0, (grip.left + grip.width / 2 - box.left) / box.width));
  };

  const describe = (handle, picture) => {
    const percent = Math.round(position(handle, picture) * 100);
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

  const arm = () => {
    for (const status of document.querySelectorAll("#info, #clip-info, #report")) status.ariaLive = "polite";
    for (const group of document.querySelectorAll("fieldset:not([aria-label])")) {
      const title = group.querySelector("[data-testid=block-info]");
      if (title) group.ariaLabel = title.textContent.trim();
    }
    for (const example of document.querySelectorAll("#examples button:not([aria-label])")) {
      const picture = example.querySelector("img");
      const name = picture?.src.match(/([^/]+)\.\w+$/)?.[1];
      if (name) example.ariaLabel = `Example: ${name}`;
    }
    const handle = document.querySelector("#result [data-testid=slider]");
    const [before, after] = document.querySelectorAll("#result img");
    if (!after) return;
    before.alt = "Before: your photo";
    after.alt = "After: its translation";
    if (handle.role === "slider") return;
    handle.role = "slider";
    handle.tabIndex = 0;
    handle.ariaLabel = "Line between before and after";
    handle.ariaValueMin = 0;
    handle.ariaValueMax = 100;
    describe(handle, before);
    handle.addEventListener("keydown", (event) => {
      const picture = document.querySelector("#result img");
      const now = position(handle, picture);
      const step = event.shiftKey ? 0.1 : 0.02;
      const to = { ArrowLeft: now - step, ArrowRight: now + step, Home: 0, End: 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      drag(handle, picture, Math.min(1, Math.max(0, to)));
      requestAnimationFrame(() => describe(handle, picture));
    });
  };

  new MutationObserver(arm).observe(document.body, { childList: true, subtree: true });
  arm();
}
