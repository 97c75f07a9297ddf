// What the page does beside its elements: photos and clips dropped or pasted anywhere, chips by keyboard, names for screen readers, light
// and dark, the result brought into view, a link copied, and a word when a clip is done.
(() => {
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");

  // A photo or a clip that is dropped anywhere, or pasted outside a text, goes where it belongs while that part of the page is in sight:
  // other tabs take files of their own, in their own places.
  const PLACES = { image: "#photo input[type=file]", video: "input[type=file]:has(~ #restore-file)" };

  function placed(transfer) {
    const items = [...(transfer?.items ?? [])].filter(({ kind }) => kind === "file");
    const item = items.find(({ type }) => type.split("/")[0] in PLACES);
    const input = item && document.querySelector(PLACES[item.type.split("/")[0]]);
    return input && document.getElementById("photo-box")?.offsetParent ? { input, item } : null;
  }

  function take(event, transfer) {
    const { input, item } = placed(transfer) ?? {};
    const isText = event.type === "paste" && transfer.types.includes("text/plain"); // with a picture of it beside it
    if (!input || isText || event.target.closest?.("#more-photos")) return;
    event.preventDefault();
    event.stopPropagation(); // one place takes it
    const files = new DataTransfer();
    files.items.add(item.getAsFile());
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  document.addEventListener("dragover", (event) => placed(event.dataTransfer) && event.preventDefault(), true);
  document.addEventListener("drop", (event) => take(event, event.dataTransfer), true);
  document.addEventListener("paste", (event) => take(event, event.clipboardData), true);

  // Chips are one stop of the Tab key, as a toolbar is, and the arrow keys go from one to the next. A chip that is offered in a line of words
  // presses the one below the prompt.
  const CHIP = "#chips input";

  document.addEventListener("focusin", ({ target }) => {
    if (target.matches(CHIP)) for (const chip of document.querySelectorAll(CHIP)) chip.tabIndex = chip === target ? 0 : -1;
  });
  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.(CHIP)) return;
    const chips = [...document.querySelectorAll(CHIP)];
    const go = (to) => chips.at(to % chips.length).focus();
    const at = chips.indexOf(event.target);
    const [next, previous] = [() => go(at + 1), () => go(at - 1)];
    trip.press(event, { ArrowRight: next, ArrowDown: next, ArrowLeft: previous, ArrowUp: previous, Home: () => go(0), End: () => go(-1) });
  });
  document.addEventListener("click", ({ target }) => {
    const name = target.dataset?.chip;
    if (name) document.querySelector(`#chips input[name="${name}"]`)?.click();
  });

  // Tab leaves an open list. Gradio would open it again for that key, as for any other.
  document.addEventListener("keydown", (event) => event.key === "Tab" && event.target.role === "combobox" && event.stopPropagation(), true);

  // Parts of Gradio's that have a name without a role, a role without a name, or a name that is hidden.
  const NAMELESS = ["div[aria-label]:not([role])", ".select-all-checkbox:not([role=none])"];
  NAMELESS.push("[data-testid=checkbox]:not([aria-label])", "button:has(> .image-frame):not([aria-label])");

  new MutationObserver(() => {
    for (const part of document.querySelectorAll(NAMELESS)) {
      if (part.matches("input")) part.ariaLabel = part.name || part.closest("label").textContent.trim();
      else if (part.matches("button")) part.ariaLabel = part.closest(".block").querySelector("label").textContent.trim();
      else part.role = part.ariaLabel ? "group" : "none";
    }
  }).observe(document, { childList: true, subtree: true });

  // The title follows the tab; what went wrong stays on the tab that it came up on.
  let tab = "animate";
  window.tripTab = (id, title) => {
    document.title = title;
    for (const toast of document.querySelectorAll(".toast-body.error .toast-close")) toast.click();
    for (const failed of document.querySelectorAll("#progress .trip-failed")) {
      failed.dataset.tab ??= tab;
      failed.hidden = failed.dataset.tab !== id;
    }
    tab = id;
  };

  // What was filled in: taken up when the page opens, but for a photo that is gone and what somebody has filled in by then; and kept from
  // then on.
  let isFilled = false;
  window.tripFill = async (names, fresh, now) => {
    isFilled = true;
    const kept = JSON.parse(localStorage.getItem("trip-form") ?? "{}");
    if (kept.photo && !(await fetch(kept.photo.url, { method: "HEAD" }).catch(() => null))?.ok) delete kept.photo;
    const alike = (one, other) => JSON.stringify(one || null) === JSON.stringify(other || null);
    const isTaken = names.map((name, index) => name in kept && alike(now[index], fresh[index]) && !alike(kept[name], now[index]));
    const values = names.map((name, index) => (isTaken[index] ? kept[name] : { __type__: "update" }));
    return [isTaken[names.indexOf("photo")] ? kept.crop?.box ?? null : null, ...values];
  };
  window.tripKeep = (crop, names, now) => {
    const entries = names.map((name, index) => [name, now[index]]);
    if (isFilled) localStorage.setItem("trip-form", JSON.stringify({ crop, ...Object.fromEntries(entries) }));
    return [];
  };

  // Light or dark: as the browser or the address has it until a person chooses.
  const shade = localStorage.getItem("trip-shade");
  if (shade && !new URL(location).searchParams.has("__theme")) document.body.classList.toggle("dark", shade === "dark");

  // What the switch says: what it switches to.
  window.tripShade = (changes) => {
    const isDark = document.body.classList.toggle("dark", document.body.classList.contains("dark") !== Boolean(changes));
    if (changes) localStorage.setItem("trip-shade", isDark ? "dark" : "light");
    return isDark ? "Light" : "Dark";
  };

  // Brings a part of the page into view, and keeps it there while it grows, until a person does something else.
  window.tripShow = (selector) => {
    const part = document.querySelector(selector);
    if (!part) return;
    const show = () => part.scrollIntoView({ block: "nearest", behavior: stillness.matches ? "auto" : "smooth" });
    const growth = new ResizeObserver(show); // tells the size it begins with, too
    growth.observe(part);
    for (const act of ["wheel", "touchmove", "pointerdown", "keydown"])
      document.addEventListener(act, () => growth.disconnect(), { once: true, capture: true, passive: true });
  };

  // The address of what is shown; browsers give the clipboard to pages by https or on this machine alone.
  window.tripCopy = () => {
    if (navigator.clipboard) return void navigator.clipboard.writeText(location.href);
    const text = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: location.href }));
    text.select();
    document.execCommand("copy");
    text.remove();
  };

  // A clip that is done while somebody looks elsewhere is told in the title until they are back, and by a sound where they want one.
  let [title, shown, awaited] = ["", "", ""]; // of the page, and the jobs that it shows and waits for
  const away = () => document.hidden || !document.hasFocus();

  window.tripTell = (html) => {
    const { job, state } = new DOMParser().parseFromString(html ?? "", "text/html").querySelector(".trip-progress")?.dataset ?? {};
    shown = job;
    if (state === "running") awaited = job;
    if (state !== "done" || !job || job !== awaited) return;
    awaited = "";
    if (tripSound()) ring();
    if (away()) document.title = `✓ Your clip is done – ${(title ||= document.title)}`;
  };
  window.tripAwait = (job) => {
    if (job !== shown) awaited = job;
  };
  for (const [where, event] of [[window, "focus"], [document, "visibilitychange"]])
    where.addEventListener(event, () => away() || !title || (document.title = title));

  // Whether there is a sound; what is given is kept in this browser.
  window.tripSound = (on) => {
    if (on !== undefined) localStorage.setItem("trip-sound", on);
    return localStorage.getItem("trip-sound") === "true";
  };

  function ring() {
    const audio = new AudioContext();
    [660, 880].forEach((pitch, index) => {
      const [tone, volume, start] = [audio.createOscillator(), audio.createGain(), audio.currentTime + 0.15 * index];
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.1, start);
      volume.gain.exponentialRampToValueAtTime(0.001, start + 0.4);
      tone.connect(volume).connect(audio.destination);
      tone.start(start);
      tone.stop(start + 0.4);
    });
  }
})();
