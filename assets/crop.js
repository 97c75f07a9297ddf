// <trip-crop>, made in trip/ui/elements.py.
(() => {
  const { button, clamp, define, node, press, style } = trip; // of elements.js

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

  define("trip-crop", TripCrop);
})();
