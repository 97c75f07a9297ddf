// What the page needs and Gradio lacks: <trip-player> and <trip-compare>, and in crop.js <trip-crop>, made in trip/ui/elements.py.
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
    silent: "M3 9h4l5-4v14l-5-4H3zM15.6 8.2l6.2 6.2-1.4 1.4-6.2-6.2zM20.4 8.2l1.4 1.4-6.2 6.2-1.4-1.4z",
    heard: "M3 9h4l5-4v14l-5-4H3zM14 8.5a4.5 4.5 0 0 1 0 7zM14 4.5a8 8 0 0 1 0 15v-2a6 6 0 0 0 0-11z",
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
      const more = [this.output, this.pace(), ...this.sound(), ...this.whole()];
      const row = node("div", { class: "row clock" }, previous, this.toggle, next, this.slider, ...more);
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

    sound() {
      if (!this.hasAttribute("sound")) return [];
      const { video } = this.lead;
      const made = button("Sound", () => {
        video.muted = !video.muted;
        tell();
      }, "silent");
      const tell = () => {
        draw(made, video.muted ? "silent" : "heard");
        made.setAttribute("aria-pressed", !video.muted);
      };
      tell();
      return [made];
    }

    whole() {
      if (!document.fullscreenEnabled) return [];
      return [button("Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen()), "whole")];
    }

    clicked() {
      (this.hasAttribute("bare") ? this.stage : this.slider).focus({ preventScroll: true }); // the keys work from here on
      this.playOrPause();
    }

    // Space is play and pause wherever the focus is, as in video editors, but for a clip's own button; Enter presses the button that has it.
    press(event) {
      if (!this.tracks.length || event.target.closest("figure button")) return;
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
    static observedAttributes = ["src", "fps", "frames", "label", "sound"];

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

  const define = (name, element) => customElements.get(name) || customElements.define(name, element);
  define("trip-player", TripPlayer);
  define("trip-compare", TripCompare);
  window.trip = { button, clamp, define, node, press, style }; // for the other scripts
})();
