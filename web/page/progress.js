/** The view of what is happening until the terminal takes over. */

import { translationNote } from "./platform.js";

/** @import { MountEvent, RuntimeMessage } from "../messages.js" */
/** @import { Stage } from "../vm/messages.js" */

const MACHINE_STAGES = {
  resumed: "resumed",
  booting: "booting",
  ready: "ready",
  mounted: "file system mounted",
  started: "started",
  full: "short of memory",
};

const LAYER_STATES = {
  waiting: "waiting",
  downloading: "downloading",
  verifying: "verifying",
  ready: "verified",
  exists: "already here",
  lazy: "fetched when read",
};

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 1000 && unit < units.length - 1);
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** How many of several things are named. */
const MOST_NAMED = 3;

/**
 * What is going on, in words, for somebody who has seen nothing change for a while.
 * @param {{ name: string, text: string, done: boolean }[]} lines
 */
export function underWay(lines) {
  const open = lines.filter(({ done, text }) => !done && text);
  const named = open.slice(0, MOST_NAMED).map(({ name, text }) => `${name}: ${text}`);
  if (open.length > MOST_NAMED) named.push(`and ${open.length - MOST_NAMED} more`);
  const what = named.length > 0 ? `Under way: ${named.join("; ")}` : "All is loaded, and starts";
  return `No news for a while. ${what}. You can go on waiting, or reload the page.`;
}

/** One line with a name, a text and a bar. */
class Line {
  /** @param {HTMLElement} list @param {string} name */
  constructor(list, name) {
    this.element = document.createElement("li");
    this.name = document.createElement("span");
    this.name.className = "bm-name";
    this.name.textContent = name;
    this.text = document.createElement("span");
    this.text.className = "bm-text";
    this.bar = document.createElement("progress");
    this.bar.setAttribute("aria-label", name);
    this.element.append(this.name, this.text, this.bar);
    list.append(this.element);
  }

  /**
   * @param {string} text
   * @param {number} [part] from 0 to 1; without it the bar only shows that something happens
   */
  show(text, part) {
    this.text.textContent = text;
    if (part === undefined) this.bar.removeAttribute("value");
    else this.bar.value = part;
    this.element.classList.toggle("bm-done", part === 1);
  }

  /** @param {string} state @param {number} bytes @param {number | undefined} total */
  showBytes(state, bytes, total) {
    const amount = total ? `${formatBytes(bytes)} of ${formatBytes(total)}` : formatBytes(bytes);
    // Not yet done when the last byte has come: that is for whoever uses the bytes to say.
    this.show(`${state} ${amount}`, total ? Math.min(bytes / total, 0.99) : undefined);
  }
}

export class ProgressView {
  /** @type {Line[]} */
  #layers = [];

  /** @param {HTMLElement} element */
  constructor(element) {
    element.replaceChildren();
    const list = document.createElement("ul");
    list.className = "bm-progress";
    this.note = document.createElement("p");
    this.note.className = "bm-note";
    this.note.setAttribute("role", "status");
    element.append(list, this.note);
    this.list = list;
    this.runtimeLine = new Line(list, "Runtime");
    this.machineLine = new Line(list, "Machine");
    this.imageLine = new Line(list, "Image");
    this.imageLine.show("waiting for the runtime");
  }

  /** @param {RuntimeMessage} message */
  runtime(message) {
    if (message.stage === "runtime-ready") this.runtimeLine.show("ready", 1);
    else this.runtimeLine.showBytes("loading", message.bytes, message.total);
  }

  /** @param {Stage} stage */
  machine(stage) {
    if (stage.stage === "fetching") {
      this.machineLine.showBytes("loading", stage.bytes, stage.total);
    } else {
      const done = stage.stage !== "booting" && stage.stage !== "resumed";
      this.machineLine.show(MACHINE_STAGES[stage.stage], done ? 1 : undefined);
      if (stage.stage === "mounted") this.note.textContent = "Starting the container…";
    }
  }

  /** @param {MountEvent} event */
  event(event) {
    switch (event.kind) {
      case "resolving":
        this.imageLine.show(`looking for ${event.reference}`);
        break;
      case "resolved":
        this.imageLine.show(`${event.reference} (${event.platform})`);
        this.note.textContent = translationNote(event.platform);
        this.#layers = event.layers.map((layer) => {
          const line = new Line(this.list, layer.digest.slice(0, 19));
          line.element.classList.add("bm-layer");
          line.show(`waiting, ${formatBytes(layer.size)}`, 0);
          return line;
        });
        break;
      case "layer": {
        const line = this.#layers[event.index];
        const state = LAYER_STATES[event.state];
        if (event.state === "ready" || event.state === "exists") {
          line?.show(`${state}, ${formatBytes(event.total)}`, 1);
        } else if (event.state === "lazy") {
          const part = event.total ? event.current / event.total : 1;
          const amount = `${formatBytes(event.current)} of ${formatBytes(event.total)} here`;
          line?.show(`${state}, ${amount} (${Math.floor(100 * part)} %)`, part);
          line?.element.classList.add("bm-done");
        } else line?.showBytes(state, event.current, event.total);
        break;
      }
      case "notice":
        this.say(event.hint ? `${event.message}. ${event.hint}` : `${event.message}.`);
        break;
      case "trouble":
        this.say(event.lost ? event.message : `Trying again: ${event.message}.`);
        break;
      case "recovered":
        this.say("");
        break;
      case "tree":
        this.imageLine.show(`${event.inodes} files, ${formatBytes(event.size)}`, 1);
        break;
    }
  }

  /** What is going on, in words. */
  get underWay() {
    const lines = [this.runtimeLine, this.machineLine, this.imageLine, ...this.#layers];
    return underWay(
      lines.map(({ name, text, element }) => ({
        name: name.textContent ?? "",
        text: text.textContent ?? "",
        done: element.classList.contains("bm-done"),
      })),
    );
  }

  /** @param {string} text */
  say(text) {
    this.note.textContent = text;
  }
}
