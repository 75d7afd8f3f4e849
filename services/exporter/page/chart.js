
"use strict";

const NEVER = "–";

function scaled(value, steps, base) {
  let step = 0;
  while (value >= base && step < steps.length - 1) { value /= base; step += 1; }
  const digits = value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${steps[step]}`.trim();
}
const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"], 1000);
const packetRate = (value) => scaled(value, ["/s", "k/s", "M/s", "G/s"], 1000);
const bytes = (value) => scaled(value, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024);
const count = (value) => value < 100000 ? value.toLocaleString("en") : scaled(value, ["", "k", "M", "G", "T"], 1000);
const seconds = (value) => value < 10 && !Number.isInteger(value) ? `${value.toFixed(1)} s` : value < 120 ? `${value.toFixed(0)} s`
  : value < 7200 ? `${(value / 60).toFixed(0)} min` : value < 172800 ? `${(value / 3600).toFixed(0)} h`
  : `${(value / 86400).toFixed(0)} days`;
const milliseconds = (value) => value < 1 ? `${(1000 * value).toFixed(value < 0.01 ? 2 : value < 0.1 ? 1 : 0)} ms` : seconds(value);
const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });

/** The next round number, whose half is round as well. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

/** An area chart of one series, drawn anew at each point: what there is, from 2 minutes up to 15. */
class Chart {
  static SPAN = 900;
  static SHORTEST = 120;
  static LEFT = 62;
  static BOTTOM = 20;

  constructor(box, write) {
    this.box = box;
    this.write = write;
    this.points = [];
    this.chosen = null;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("role", "img");
    this.readout = document.createElement("output");
    this.readout.hidden = true;
    box.append(this.svg, this.readout);
    box.addEventListener("pointermove", (event) => this.choose(this.indexAt(event.offsetX)));
    box.addEventListener("pointerleave", () => this.choose(null));
    box.addEventListener("blur", () => this.choose(null));
    box.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(points) {
    this.points = points;
    this.draw();
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 }[event.key];
    if (!by || !this.points.length) return;
    event.preventDefault();
    const last = this.points.length - 1;
    this.choose(Math.min(last, Math.max(0, (this.chosen ?? last) + by)));
  }

  choose(index) {
    this.chosen = index;
    this.draw();
  }

  indexAt(x) {
    const { width, end, span } = this.frame();
    const time = end - span * (1 - (x - Chart.LEFT) / width);
    const index = Math.round(time - (this.points[0]?.[0] ?? 0));
    return this.points[index] && x >= Chart.LEFT ? index : null;
  }

  frame() {
    const end = this.points.length ? this.points[this.points.length - 1][0] : 0;
    const span = Math.min(Chart.SPAN, Math.max(Chart.SHORTEST, 60 * Math.ceil(this.points.length / 60)));
    return { width: this.box.clientWidth - Chart.LEFT - 4, height: this.box.clientHeight - Chart.BOTTOM - 8, end, span };
  }

  draw() {
    const { width, height, end, span } = this.frame();
    if (width <= 0 || !this.points.length) return;
    const top = ceiling(Math.max(...this.points.map((point) => point[1])));
    const x = (time) => Chart.LEFT + width * (1 - (end - time) / span);
    const y = (value) => 8 + height * (1 - value / top);
    const line = this.points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join("L");
    const first = x(this.points[0][0]).toFixed(1);
    this.svg.setAttribute("viewBox", `0 0 ${this.box.clientWidth} ${this.box.clientHeight}`);
    this.svg.replaceChildren(
      ...[0, 0.5, 1].flatMap((part) => this.level(part * top, y(part * top), width)),
      ...this.moments(span).map((minutes) => this.moment(minutes, x(end - 60 * minutes), height, span)),
      this.shape("path", { class: "area", d: `M${first},${8 + height}L${line}L${(Chart.LEFT + width).toFixed(1)},${8 + height}Z` }),
      this.shape("path", { class: "curve", d: `M${line}` }),
      ...this.cross(x, y, height),
    );
    const now = this.points[this.points.length - 1][1];
    this.svg.setAttribute("aria-label", `now ${this.write(now)}, highest ${this.write(Math.max(...this.points.map((point) => point[1])))}`);
  }

  level(value, at, width) {
    const text = this.shape("text", { x: Chart.LEFT - 6, y: at + 4, "text-anchor": "end" });
    text.textContent = value ? this.write(value) : "0";
    return [this.shape("line", { class: "grid", x1: Chart.LEFT, x2: Chart.LEFT + width, y1: at, y2: at }), text];
  }

  /** Whole minutes before now, at most five of them. */
  moments(span) {
    const step = [1, 2, 3, 5].find((minutes) => span / 60 / minutes <= 4);
    return Array.from({ length: Math.floor(span / 60 / step) + 1 }, (_, position) => position * step);
  }

  moment(minutes, at, height, span) {
    const anchor = 60 * minutes === span ? "start" : minutes === 0 ? "end" : "middle";
    const text = this.shape("text", { x: at, y: height + 24, "text-anchor": anchor });
    text.textContent = minutes ? `−${minutes} min` : "now";
    return text;
  }

  cross(x, y, height) {
    const point = this.chosen === null ? undefined : this.points[this.chosen];
    this.readout.hidden = !point;
    if (!point) return [];
    const at = x(point[0]);
    this.readout.value = `${clock(point[0])}  ${this.write(point[1])}`;
    const right = at > this.box.clientWidth / 2;
    this.readout.style.left = right ? "auto" : `${at + 8}px`;
    this.readout.style.right = right ? `${this.box.clientWidth - at + 8}px` : "auto";
    return [this.shape("line", { class: "cross", x1: at, x2: at, y1: 8, y2: 8 + height })];
  }

  shape(name, attributes) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    return shape;
  }
}
