// What the page needs and Gradio lacks: <trip-player>, <trip-compare> and <trip-crop>, made in trip/ui/elements.py.
//
// All insides live in a shadow tree. gr.HTML compares its new HTML with the page, child by child, and would remove whatever an
// element had put into itself; and Gradio's own styles end at that border. Texts become text nodes, never HTML.
(() => {
  const style = new CSSStyleSheet();
  style.replaceSync(document.getElementById("trip-elements").textContent);
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const ICONS = {
    previous: "M6 5h2v14H6zM19 5v14L9 12z",
    play: "M7 4v16l13-8z",
    pause: "M6 4h4v16H6zM14 4h4v16h-4z",
    next: "M16 5h2v14h-2zM5 5v14l10-7z",
    whole: "M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z",
  };

  const SPEEDS = { "1×": 1, "½×": 0.5, "¼×": 0.25, "2×": 2 };

  function node(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function button(label, act, icon) {
    const made = node("button", { type: "button", "aria-label": label, ...(icon ? {} : { class: "words" }) }, icon ? "" : label);
    if (icon) draw(made, icon);
    made.addEventListener("click", act);
    return made;
  }

  function draw(button, icon) {
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  }

  function press(event, acts) {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  }

  // One or more clips on one clock, over one row of controls.
  class ClipElement extends HTMLElement {
    constructor() {
      super();
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [style];
      this.shadowRoot.addEventListener("keydown", (event) => this.press(event));
      this.playing = false;
      this.tracks = [];
      this.speed = "1×";
    }

    connectedCallback() { this.renew(); }
    attributeChangedCallback() { this.renew(); }
    disconnectedCallback() { this.halt(); }

    // Gradio changes attributes one by one: build once, when all are there.
    renew() {
      if (this.renewing) return;
      this.renewing = true;
      queueMicrotask(() => {
        this.renewing = false;
        if (this.isConnected) this.build(this.clips());
      });
    }

    // Clips run in real time and start together; a shorter one holds its last frame until the longest ends. Fitting all to one
    // length would play them at different speeds, and how fast things move is what is compared. Frames are counted at the finest rate.
    build(entries) {
      this.halt();
      const clips = entries.filter(({ src }) => src);
      this.tracks = [];
      this.lay(entries.map((entry) => (entry.src ? this.tracks[this.tracks.push(this.track(entry)) - 1].figure : this.gap(entry))));
      if (!clips.length) return;
      this.fps = Math.max(...clips.map((clip) => clip.fps));
      this.frames = Math.max(1, ...clips.map((clip) => Math.round((clip.frames / clip.fps) * this.fps)));
      this.lead = this.tracks.reduce((longest, track) => (track.end > longest.end ? track : longest));
      const lead = this.lead.video;
      lead.addEventListener("ended", () => {
        this.dispatchEvent(new CustomEvent("looped", { bubbles: true })); // played to its end, by nobody's hand or by somebody's
        if (this.playing) this.restart();
      });
      lead.addEventListener("pause", () => this.playing && !lead.ended && this.pause()); // by the browser, to save power

      this.tracks[0].video.addEventListener("loadedmetadata", ({ target }) =>
        this.stage.style.setProperty("--aspect", target.videoWidth / target.videoHeight));
      this.stage.after(this.controls());
      this.seek(0);
      const { tracks } = this;
      Promise.all(tracks.map((track) => track.loaded)).then(() => {
        if (tracks === this.tracks && this.isConnected && !stillness.matches && !this.touched) this.play();
      });
    }

    lay(figures) {
      const columns = this.getAttribute("columns");
      this.stage = node("div", { class: `stage ${figures.length > 1 ? "many" : ""} ${columns ? "grid" : ""}` }, ...figures);
      if (columns) this.stage.style.cssText = `--columns: ${columns}; --rows: ${Math.ceil(figures.length / columns)}`;
      const group = node("div", { role: "group", "aria-label": this.getAttribute("label") || "Clip" }, this.stage);
      this.shadowRoot.replaceChildren(group);
    }

    // What a clip that is still to come leaves free.
    gap({ label, still }) {
      const picture = node("img", { src: still, alt: "" });
      picture.addEventListener("load", () => this.stage.style.getPropertyValue("--aspect") ||
        this.stage.style.setProperty("--aspect", picture.naturalWidth / picture.naturalHeight));
      return node("figure", { class: "gap" }, node("div", { class: "picture" }, picture), node("figcaption", {}, label));
    }

    under(label, key) {
      const words = this.getAttribute("choice");
      if (!words) return node("figcaption", {}, label);
      const choose = button(words, () => this.dispatchEvent(new CustomEvent("chosen", { bubbles: true, detail: { key } })));
      choose.setAttribute("aria-label", `${words}: ${label}`);
      return choose;
    }

    track({ src, label, fps, frames, key }) {
      const video = node("video", { playsinline: "", preload: "auto", src, "aria-label": label || "Clip" });
      video.muted = true; // the attribute alone does not mute a video made by script
      const figure = node("figure", {}, node("div", { class: "picture" }, video), this.under(label || "", key));
      video.addEventListener("error", () => figure.append(node("p", { class: "failed", role: "alert" }, "This clip cannot be shown.")));
      const loaded = new Promise((resolve) => video.addEventListener("loadeddata", resolve, { once: true }));
      return { video, figure, loaded, end: (frames - 0.5) / fps };
    }

    controls() {
      this.touched = false;
      this.toggle = button("Play", () => this.playOrPause(), "play");
      this.slider = node("input", { type: "range", min: 0, max: this.frames - 1, step: 1, value: 0, "aria-label": "Frame" });
      this.slider.addEventListener("input", () => this.step(Number(this.slider.value)));
      this.output = node("output", { "aria-live": "off" }); // else it would be read out at every frame
      this.tracks.forEach(({ video }) => video.addEventListener("click", () => this.clicked()));
      const previous = button("Previous frame", () => this.step(this.index - 1), "previous");
      const next = button("Next frame", () => this.step(this.index + 1), "next");
      const row = node("div", { class: "row clock" }, previous, this.toggle, next, this.slider, this.output, this.pace(), ...this.whole());
      if (this.hasAttribute("bare")) {
        row.hidden = true;
        this.toggle = this.stage; // is a button of its own
        for (const [name, value] of [["role", "button"], ["tabindex", 0]]) this.stage.setAttribute(name, value);
      }
      return row;
    }

    pace() {
      const made = button(this.speed, () => {
        const names = Object.keys(SPEEDS);
        this.speed = names[(names.indexOf(this.speed) + 1) % names.length];
        for (const { video } of this.tracks) video.playbackRate = SPEEDS[this.speed];
        tell();
      });
      const tell = () => {
        made.textContent = this.speed;
        made.setAttribute("aria-label", `Speed ${this.speed}`);
      };
      tell();
      return made;
    }

    whole() {
      if (!document.fullscreenEnabled) return [];
      return [button("Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen()), "whole")];
    }

    clicked() {
      (this.hasAttribute("bare") ? this.stage : this.slider).focus({ preventScroll: true }); // the keys work from here on
      this.playOrPause();
    }

    // Space is play and pause wherever the focus is, as in video editors; Enter presses the button that has it.
    press(event) {
      if (!this.tracks.length) return;
      const toggle = {
        " ": () => {
          event.target.addEventListener("keyup", (up) => up.preventDefault(), { once: true }); // on it Firefox clicks a button
          if (!event.repeat) this.playOrPause();
        },
      };
      const steps = {
        ArrowLeft: () => this.step(this.index - 1),
        ArrowRight: () => this.step(this.index + 1),
        Home: () => this.step(0),
        End: () => this.step(this.frames - 1),
      };
      if (event.target === this.stage) toggle.Enter = () => this.playOrPause();
      press(event, event.target === this.border ? toggle : { ...toggle, ...steps });
    }

    playOrPause() {
      this.touched = true;
      if (this.playing) this.pause();
      else this.play();
    }

    step(index) {
      this.touched = true;
      if (this.playing) this.halt();
      this.seek(index);
    }

    // To the middle of a frame: at its edge, rounding decides which one a browser shows.
    seek(index) {
      this.index = clamp(index, 0, this.frames - 1);
      const time = (this.index + 0.5) / this.fps;
      for (const { video, end } of this.tracks) video.currentTime = Math.min(time, end);
      this.tell();
    }

    play() {
      this.playing = true;
      this.tell();
      const { tracks, lead } = this;
      if (lead.video.ended) return this.restart();
      const now = lead.video.currentTime;
      lead.video.loop = tracks.length === 1;
      for (const { video } of tracks) video.playbackRate = SPEEDS[this.speed];
      const running = tracks.filter((track) => track === lead || now < track.end);
      Promise.all(running.map(({ video }) => video.play())).catch((error) => {
        if (error.name !== "AbortError" && tracks === this.tracks) this.pause(); // the browser forbids it until somebody clicks
      });
      cancelAnimationFrame(this.ticket);
      this.ticket = requestAnimationFrame(() => this.tick());
    }

    halt() {
      this.playing = false;
      cancelAnimationFrame(this.ticket);
      for (const { video } of this.tracks) {
        video.pause();
        video.loop = false; // Chromium loops to the start also where a paused clip is sent twice to its last frame
      }
    }

    pause() {
      this.halt();
      this.seek(this.index);
    }

    tick() {
      if (!this.playing) return;
      const now = this.lead.video.currentTime;
      this.index = clamp(Math.floor(now * this.fps + 0.01), 0, this.frames - 1);
      this.tell();
      if (!this.lead.video.paused) for (const track of this.tracks) if (track !== this.lead) this.follow(track, now);
      this.ticket = requestAnimationFrame(() => this.tick());
    }

    // The lead's time is the clock. A small drift is worked off by speed, which cannot be seen; a jump would be.
    follow({ video, end }, now) {
      if (now >= end) return video.pause();
      if (video.seeking) return;
      const drift = video.currentTime - now;
      if (Math.abs(drift) > 0.75 / this.fps) video.currentTime = now;
      const rate = SPEEDS[this.speed] * (Math.abs(drift) < 0.05 / this.fps ? 1 : clamp(1 - 5 * drift, 0.5, 2));
      if (rate !== video.playbackRate) video.playbackRate = rate;
      if (video.paused) video.play().catch(() => {}); // AbortError: paused again meanwhile
    }

    // All wait at the start for the slowest one.
    restart() {
      const { tracks } = this;
      const ready = tracks.map(({ video }) => new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true })));
      for (const { video } of tracks) video.currentTime = 0;
      Promise.all(ready).then(() => this.playing && tracks === this.tracks && this.play());
    }

    tell() {
      const words = `frame ${this.index + 1} / ${this.frames}`;
      const state = words + this.playing;
      if (state === this.told) return;
      this.told = state;
      this.output.textContent = words;
      this.slider.value = this.index;
      this.slider.setAttribute("aria-valuetext", words.replace("/", "of"));
      this.toggle.setAttribute("aria-label", this.playing ? "Pause" : "Play");
      if (this.toggle !== this.stage) draw(this.toggle, this.playing ? "pause" : "play");
    }
  }

  class TripPlayer extends ClipElement {
    static observedAttributes = ["src", "fps", "frames", "label"];

    clips() {
      const number = (name, otherwise) => Number(this.getAttribute(name)) || otherwise;
      return [{ src: this.getAttribute("src"), label: this.getAttribute("label"), fps: number("fps", 8), frames: number("frames", 1) }];
    }
  }

  class TripCompare extends ClipElement {
    static observedAttributes = ["clips", "label", "choice"];

    clips() {
      return JSON.parse(this.getAttribute("clips"));
    }

    controls() {
      const row = super.controls();
      this.border = null;
      if (this.tracks.length !== 2 || this.hasAttribute("apart")) return row;
      this.border = node("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "Border of the wipe" });
      this.border.addEventListener("input", () => this.stage.style.setProperty("--wipe", `${this.border.value}%`));
      const line = node("div", { class: "row", hidden: "" }, node("label", {}, "Border", this.border));
      const mode = button("Wipe", () => {
        line.hidden = !this.stage.classList.toggle("wipe");
        mode.setAttribute("aria-pressed", !line.hidden);
      });
      mode.setAttribute("aria-pressed", false);
      row.append(mode);
      this.stage.style.setProperty("--wipe", "50%");
      this.stage.addEventListener("pointerdown", (event) => this.wipes && this.drag(event));
      this.stage.addEventListener("pointermove", (event) => this.wipes && event.buttons && this.drag(event));
      return node("div", {}, line, row);
    }

    get wipes() { return this.stage.classList.contains("wipe"); }

    clicked() {
      if (!this.wipes) super.clicked();
    }

    drag(event) {
      if (event.type === "pointerdown") {
        this.stage.setPointerCapture(event.pointerId);
        this.slider.focus({ preventScroll: true });
      }
      const { left, width } = this.stage.getBoundingClientRect();
      this.border.value = (100 * (event.clientX - left)) / width;
      this.border.dispatchEvent(new Event("input"));
      event.preventDefault();
    }
  }

  // A frame of a given shape over a photo. `show(value)` takes what gr.HTML holds; the event "framed" tells the box, as shares of the
  // photo, and whether a person set it.
  class TripCrop extends HTMLElement {
    static SMALLEST = 0.1; // of the largest frame

    constructor() {
      super();
      this.pointers = new Map();
      this.image = node("img", { alt: "", draggable: "false" });
      const corners = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([x, y]) => node("span", { class: "corner", "data-x": x, "data-y": y }));
      this.frame = node("div", { class: "frame", tabindex: 0, role: "application", "aria-describedby": "told" }, ...corners);
      this.photo = node("div", { class: "photo" }, this.image, this.frame);
      this.size = node("input", { type: "range", min: 100 * TripCrop.SMALLEST, max: 100, step: 1 });
      this.told = node("output", { id: "told" });
      this.heading = node("div", { class: "title" });
      const reset = button("Reset", () => (this.put(null), this.hand(true)));
      this.another = button("Another photo", () => document.querySelector(this.picker)?.click());
      const row = node("div", { class: "row sizes" }, node("label", {}, "Size", this.size), this.told, reset, this.another);
      this.body = node("div", { hidden: "" }, this.heading, this.photo, row);
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [style];
      this.shadowRoot.append(this.body);
      this.listen();
    }

    listen() {
      const { photo, frame, size, image } = this;
      image.addEventListener("load", () => this.place());
      image.addEventListener("error", () => this.hide(true)); // a kind the browser cannot show: Python takes the middle
      size.addEventListener("input", () => this.scale(size.value / 100));
      size.addEventListener("change", () => this.hand(true));
      photo.addEventListener("pointerdown", (event) => this.grip(event));
      photo.addEventListener("pointermove", (event) => this.pull(event));
      for (const end of ["pointerup", "pointercancel"]) photo.addEventListener(end, (event) => this.release(event));
      frame.addEventListener("keydown", (event) => this.press(event));
      for (const end of ["keyup", "blur"]) frame.addEventListener(end, () => this.hand(true));
      frame.addEventListener("wheel", (event) => this.turn(event), { passive: false });
    }

    // The attribute "empty" tells the page whether there is a photo to see here.
    hide(hidden) {
      this.body.hidden = hidden;
      this.toggleAttribute("empty", hidden);
    }

    show(value, label, picker) {
      this.picker = picker;
      this.another.hidden = !picker;
      const source = value?.photo?.url ?? value?.photo;
      this.heading.textContent = label || "";
      this.frame.setAttribute("aria-label", `${label || "Frame"}: arrow keys move it, plus and minus change its size`);
      this.wanted = value || {};
      if (source && source === this.image.getAttribute("src")) return this.largest && this.place();
      this.largest = null;
      this.pointers.clear();
      this.body.inert = true; // until the new photo is here, its frame cannot be moved
      this.hide(!source);
      if (source) this.image.src = source;
      else this.image.removeAttribute("src");
    }

    place() {
      const { naturalWidth, naturalHeight } = this.image;
      const photo = naturalWidth / naturalHeight;
      const aspect = this.wanted.aspect || clamp(photo, 3 / 7, 7 / 3);
      this.largest = { width: Math.min(1, aspect / photo), height: Math.min(1, photo / aspect) };
      this.photo.style.setProperty("--aspect", photo);
      this.body.inert = false;
      this.handed = this.wanted.box;
      this.put(this.wanted.box);
      this.hand(false);
    }

    // The largest frame of the right shape inside a box, or, without one, inside the photo.
    put(box) {
      const [left, top, width, height] = box || [0, 0, 1, 1];
      const share = Math.min(width / this.largest.width, height / this.largest.height);
      this.set(left + width / 2, top + height / 2, share);
    }

    get middle() {
      const [left, top, width, height] = this.box;
      return [left + width / 2, top + height / 2];
    }

    scale(share) { this.set(...this.middle, share); }

    set(x, y, share) {
      this.share = clamp(share, TripCrop.SMALLEST, 1);
      const [width, height] = [this.share * this.largest.width, this.share * this.largest.height];
      this.box = [clamp(x - width / 2, 0, 1 - width), clamp(y - height / 2, 0, 1 - height), width, height];
      ["left", "top", "width", "height"].forEach((side, index) => (this.frame.style[side] = `${100 * this.box[index]}%`));
      this.size.value = 100 * this.share;
      this.told.textContent = `${Math.round(100 * width)} × ${Math.round(100 * height)} %`;
    }

    // Only where it changed: a value that came back unchanged from Python must not go out again.
    hand(byHand) {
      if (!this.largest || this.box.every((side, index) => Math.abs(side - this.handed?.[index]) < 1e-6)) return;
      this.handed = this.box;
      this.dispatchEvent(new CustomEvent("framed", { detail: { box: this.box, byHand } }));
    }

    // Where a pointer is, in shares of the photo.
    at({ clientX, clientY }) {
      const area = this.photo.getBoundingClientRect();
      return [(clientX - area.left) / area.width, (clientY - area.top) / area.height];
    }

    // Pixels between two fingers.
    apart() {
      const [a, b] = this.pointers.values();
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    }

    grip(event) {
      if (event.target === this.image && !this.pointers.size) return;
      event.preventDefault();
      this.frame.focus({ preventScroll: true, focusVisible: false });
      this.photo.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      this.start = { at: this.at(event), box: this.box, middle: this.middle, share: this.share, corner: event.target.dataset };
      if (this.pointers.size === 2) this.start.apart = this.apart();
    }

    pull(event) {
      if (!this.pointers.has(event.pointerId)) return;
      this.pointers.set(event.pointerId, event);
      const [x, y] = this.at(event);
      const { at, middle, share, corner, apart } = this.start;
      if (apart) this.scale((share * this.apart()) / apart);
      else if (corner.x) this.stretch(x - at[0], y - at[1], corner.x === "1", corner.y === "1");
      else this.set(middle[0] + x - at[0], middle[1] + y - at[1], share);
    }

    // The corner opposite to the one that is pulled stays where it is.
    stretch(farX, farY, right, bottom) {
      const [left, top, width, height] = this.start.box;
      const { width: across, height: down } = this.largest;
      const [alongX, alongY] = [right ? 1 : -1, bottom ? 1 : -1];
      const [fixedX, fixedY] = [right ? left : left + width, bottom ? top : top + height];
      const wanted = Math.max((width + alongX * farX) / across, (height + alongY * farY) / down);
      const room = Math.min((right ? 1 - fixedX : fixedX) / across, (bottom ? 1 - fixedY : fixedY) / down);
      const share = clamp(wanted, TripCrop.SMALLEST, room);
      this.set(fixedX + (alongX * share * across) / 2, fixedY + (alongY * share * down) / 2, share);
    }

    release(event) {
      if (!this.pointers.delete(event.pointerId)) return;
      if (!this.pointers.size) return this.hand(true);
      const [last] = this.pointers.values(); // of a pinch: it goes on as a move
      this.start = { at: this.at(last), middle: this.middle, share: this.share, corner: {} };
    }

    press(event) {
      const [x, y] = this.middle;
      const far = event.shiftKey ? 0.1 : 0.01;
      press(event, {
        ArrowLeft: () => this.set(x - far, y, this.share),
        ArrowRight: () => this.set(x + far, y, this.share),
        ArrowUp: () => this.set(x, y - far, this.share),
        ArrowDown: () => this.set(x, y + far, this.share),
        "+": () => this.scale(this.share + 0.05),
        "=": () => this.scale(this.share + 0.05), // plus without shift
        "-": () => this.scale(this.share - 0.05),
      });
    }

    // Only once the frame was clicked: until then the wheel scrolls the page past the photo.
    turn(event) {
      if (this.shadowRoot.activeElement !== this.frame) return;
      event.preventDefault();
      this.scale(this.share * Math.exp(-event.deltaY / 1000));
      clearTimeout(this.turned);
      this.turned = setTimeout(() => this.hand(true), 200);
    }
  }

  const elements = { "trip-player": TripPlayer, "trip-compare": TripCompare, "trip-crop": TripCrop };
  for (const [name, element] of Object.entries(elements)) if (!customElements.get(name)) customElements.define(name, element);
  window.tripPress = press;
})();
