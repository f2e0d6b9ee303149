/** The line below the terminal: how much of the image is here, what is kept, what is wrong. */

import { makeButton } from "./buttons.js";
import { choicesOf } from "./platform.js";
import { formatBytes } from "./progress.js";

/** @import { Kept, MountEvent } from "../messages.js" */
/** @import { Choice } from "./platform.js" */

/** @param {string} message without a full stop @param {string} hint */
function asSentences(message, hint) {
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}. ${hint}`.trim();
}

/** For more there is no room; the element's `ports` has them all. */
const SHOWN_PORTS = 4;

export class StatusView {
  /** @type {Map<number, { digest: string, held: number, total: number }>} */
  #layers = new Map();
  /** @type {ReturnType<typeof choicesOf>} */
  #choices = [];

  /**
   * @param {HTMLElement} element
   * @param {() => void} onClear Let go what is kept.
   * @param {(choice: Choice) => void} onPlatform Run the image for this platform.
   * @param {() => void} onRestart Run the image in a fresh container.
   * @param {() => void} onStop End the container.
   * @param {(port: number) => void} onPort Show what the container serves there.
   * @param {() => void} onSessions Show what is kept, and what can be done with it.
   */
  constructor(element, onClear, onPlatform, onRestart, onStop, onPort, onSessions) {
    this.element = element;
    this.onPort = onPort;
    this.portList = document.createElement("span");
    this.portList.setAttribute("role", "status");
    this.platform = document.createElement("span");
    this.choice = document.createElement("select");
    this.choice.setAttribute("aria-label", "Platform");
    this.choice.title = "Run the image for another platform, in a fresh container";
    this.choice.addEventListener("change", () =>
      onPlatform(this.#choices[this.choice.selectedIndex]),
    );
    this.mirror = document.createElement("span");
    this.mirror.className = "bm-trouble";
    this.relay = document.createElement("span");
    this.relay.className = "bm-trouble";
    this.machine = document.createElement("span");
    this.machine.className = "bm-trouble";
    this.network = document.createElement("span");
    this.proxy = document.createElement("span");
    this.proxy.className = "bm-trouble";
    this.image = document.createElement("span");
    this.trouble = document.createElement("span");
    this.trouble.className = "bm-trouble";
    this.trouble.setAttribute("role", "alert");
    this.keptText = document.createElement("span");
    this.clear = makeButton(
      "Clear",
      onClear,
      "Remove what is kept of images that no page has open",
    );
    this.clear.hidden = true;
    const kept = document.createElement("span");
    kept.className = "bm-kept";
    kept.append(this.keptText, this.clear);
    this.stop = makeButton("Stop", onStop, "End the container, whatever it does");
    const power = document.createElement("span");
    power.className = "bm-power";
    power.append(
      makeButton("Save", onSessions, "Files, images and sessions that are kept"),
      this.stop,
      makeButton("Restart", onRestart, "Run the image in a fresh container"),
    );
    this.room = document.createElement("span");
    this.room.className = "bm-trouble";
    this.room.setAttribute("role", "alert");
    element.replaceChildren(
      this.platform,
      this.machine,
      this.mirror,
      this.relay,
      this.proxy,
      this.network,
      this.image,
      this.trouble,
      this.room,
      this.portList,
      kept,
      power,
    );
  }

  /** @param {MountEvent} event */
  event(event) {
    switch (event.kind) {
      case "layer": {
        const held = event.state === "waiting" ? 0 : event.current;
        this.#layers.set(event.index, { digest: event.digest, held, total: event.total });
        this.#showImage();
        break;
      }
      case "trouble":
        this.trouble.textContent = event.lost
          ? `A file cannot be read: ${event.message}. ${event.hint}`
          : `Trying again: ${event.message}.`;
        break;
      case "network":
        this.trouble.textContent = asSentences(event.message, event.hint);
        break;
      case "recovered":
        this.trouble.textContent = "";
        break;
    }
  }

  /**
   * Say that somebody else has chosen where the image comes from: a mirror can give another image
   * under the same name.
   * @param {string} mirror
   */
  foreignMirror(mirror) {
    this.mirror.textContent = `The link to this page has the image read from: ${mirror}`;
  }

  /**
   * Say that somebody else has chosen what connects the container: a relay reads what is not
   * encrypted, and decides whom the container talks to.
   * @param {string} relay
   */
  foreignRelay(relay) {
    this.relay.textContent = `The link to this page connects the container by: ${relay}`;
  }

  /**
   * Say that somebody else has chosen through whom the container reaches hosts.
   * @param {string} proxy
   */
  foreignProxy(proxy) {
    this.proxy.textContent = `The link to this page has the container's requests go through: ${proxy}`;
  }

  /**
   * Say that somebody else has chosen the machine: it sees all that it is given.
   * @param {string} url
   */
  foreignMachine(url) {
    this.machine.textContent = `The link to this page runs the image on the machine from: ${url}`;
  }

  /**
   * Say in which network of containers this one is.
   * @param {Extract<MountEvent, { kind: "neighbours" }>} event
   * @param {boolean} foreign whether somebody else has chosen it
   */
  neighbours(event, foreign) {
    const { network } = event;
    const failed = "failure" in event;
    this.network.className = failed || foreign || event.taken ? "bm-trouble" : "";
    if (failed) {
      this.network.textContent = `The container is not in the network ${network}: ${event.failure}`;
      return;
    }
    const where = `In the network ${network} as ${event.name}`;
    const why = event.taken ? ": another container has its name" : "";
    const link = foreign ? " (the link to this page has chosen it)" : "";
    this.network.textContent = where + why + link;
  }

  /**
   * Say which platform runs, and offer the others.
   * @param {Choice} running
   * @param {string[]} others what the image is there for and can be run, `running` or not; none where the
   *   machine is not ours
   */
  platforms(running, others) {
    this.#choices = choicesOf([...new Set([running.platform, ...others])]);
    const texts = this.#choices.map(({ text }) => text);
    const same = this.#choices.map(({ platform }) => platform === running.platform);
    const exact = this.#choices.map(({ machine }, i) => same[i] && machine === running.machine);
    if (others.length === 0) texts.splice(1);
    this.platform.textContent = texts.length > 1 ? "Platform: " : `Platform: ${running.platform}`;
    if (texts.length < 2) return;
    this.choice.replaceChildren(...texts.map((text) => new Option(text)));
    // Where the machine is asked for that such images have anyway, no choice names it.
    this.choice.selectedIndex = exact.includes(true) ? exact.indexOf(true) : same.indexOf(true);
    this.platform.append(this.choice);
  }

  /**
   * Say whether the container's file system is nearly full.
   * @param {boolean} full
   */
  full(full) {
    this.room.textContent = full
      ? "Little room is left in the container's file system, which is in memory. Remove files there, " +
        "or start it with more: up to memory=2047m in this page's address."
      : "";
  }

  /**
   * Offer to show what the container serves.
   * @param {number[]} ports
   */
  ports(ports) {
    const offers = ports.slice(0, SHOWN_PORTS).flatMap((port) => {
      const open = () => this.onPort(port);
      const title = `Show what the container serves at port ${port}`;
      return [`Port ${port}: `, makeButton("Open", open, title), " "];
    });
    const more = ports.length > SHOWN_PORTS ? ["…"] : [];
    this.portList.replaceChildren(...offers, ...more);
  }

  /** @param {Kept} kept */
  kept(kept) {
    const where = kept.persistent ? "Kept in this browser" : "Kept until this page is closed";
    this.keptText.textContent = `${where}: ${formatBytes(kept.size)}`;
    this.clear.hidden = kept.size === 0;
  }

  #showImage() {
    let held = 0;
    let total = 0;
    // An image may have a layer more than once.
    const layers = new Map([...this.#layers.values()].map((layer) => [layer.digest, layer]));
    for (const layer of layers.values()) {
      held += layer.held;
      total += layer.total;
    }
    const percent = total ? Math.floor((100 * held) / total) : 100;
    this.image.textContent =
      held === total
        ? `Image: ${formatBytes(total)}, all here`
        : `Image: ${formatBytes(held)} of ${formatBytes(total)} here (${percent} %), ` +
          "the rest is fetched when it is read";
  }
}
