/**
 * What can be saved of the container, and the sessions that this browser keeps: a panel over the terminal.
 */

import { makeButton } from "./buttons.js";
import {
  deleteSession,
  exportSession,
  filesOfSession,
  importSession,
  inspectSession,
  listSessions,
  renameSession,
} from "./kept-sessions.js";
import { formatBytes } from "./progress.js";
import { StateError } from "../vm/state-file.js";

/** @import { ContainerTerminal } from "../container-terminal.js" */
/** @import { SessionInfo } from "./kept-sessions.js" */
/** @import { StateHeader } from "../vm/state-file.js" */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} className
 * @param {(Node | string)[]} content
 */
function make(name, className, ...content) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** @param {Blob} content @param {string} name */
function download(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser has taken what it is about by then; the memory would stay as long as the page.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Layers in their order: who unpacks them begins with the first.
 * @param {Blob[]} layers
 * @param {string} name
 */
function downloadLayers(layers, name) {
  for (const [index, layer] of layers.entries()) {
    const number = layers.length > 1 ? `-${index + 1}` : "";
    download(layer, `${name}${number}.tar`);
  }
}

/**
 * A name for files: the last part of an image's.
 * @param {string} image
 */
function shortName(image) {
  const parts = image.split(/[#@?]/)[0].split("/").filter(Boolean);
  return (parts.at(-1) ?? "image").replace(/[^A-Za-z0-9._-]/g, "-");
}

/** How often sessions are looked at that others have open. */
const LOOK_MS = 2000;

/** @param {unknown} error */
function messageOf(error) {
  const message = error instanceof Error ? error.message : String(error);
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`;
}

/**
 * @param {ContainerTerminal} element gets the panel
 * @param {() => void} onClosed
 */
export function showSessions(element, onClosed) {
  element.querySelector(".bm-sessions")?.remove();
  new SessionsView(element, onClosed);
}

class SessionsView {
  #element;
  #onClosed;
  #panel = make("section", "bm-sessions");
  #list = make("ul", "");
  #note = make("p", "bm-hint");
  #picker = make("input", "");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {ContainerTerminal} element @param {() => void} onClosed */
  constructor(element, onClosed) {
    this.#element = element;
    this.#onClosed = onClosed;
    const panel = this.#panel;
    panel.setAttribute("role", "dialog");
    panel.setAttribute("aria-label", "Save");
    this.#note.setAttribute("role", "status");
    this.#picker.type = "file";
    this.#picker.hidden = true;
    this.#picker.addEventListener("change", () => {
      const [file] = this.#picker.files ?? [];
      this.#picker.value = "";
      if (file) void this.#attempt(() => this.#inspect(file));
    });
    const close = makeButton("Close", () => this.#close());
    panel.append(
      make("header", "", make("h2", "", "Save"), close),
      this.#ofContainer(),
      make("h3", "", "Sessions in this browser"),
      this.#list,
      make(
        "p",
        "bm-row",
        makeButton("Open from a file", () => this.#picker.click()),
      ),
      this.#picker,
      this.#note,
    );
    // Not for the terminal below.
    panel.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.#close();
    });
    element.append(panel);
    close.focus();
    void this.#refresh();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#panel.remove();
    this.#onClosed();
  }

  /** @param {string} text */
  #say(text) {
    this.#note.textContent = text;
    this.#note.scrollIntoView({ block: "nearest" });
  }

  /** @param {() => Promise<void>} action */
  async #attempt(action) {
    this.#say("");
    try {
      await action();
    } catch (error) {
      this.#say(messageOf(error));
    }
    await this.#refresh();
  }

  // -- The container of this page --------------------------------------------

  #ofContainer() {
    const section = make("div", "");
    const row = make("p", "bm-row");
    if (this.#element.dataset.state !== "running") return section;
    row.append(
      makeButton(
        "Download changes",
        () => this.#attempt(() => this.#downloadChanges()),
        "A tar archive of what the container has changed, with whiteouts as a layer has them",
      ),
      makeButton(
        "Image as a file",
        () => this.#attempt(() => this.#saveImage()),
        "The image with what was changed, as an OCI image layout in a tar archive",
      ),
    );
    if ("showDirectoryPicker" in window)
      row.append(
        makeButton(
          "Image into a folder",
          () => this.#attempt(() => this.#saveFolder()),
          "The same into a folder, in which there may be other images",
        ),
      );
    section.append(make("h3", "", "This container"), row);
    if (!this.#element.session || this.#element.persist === "no") section.append(this.#keepForm());
    return section;
  }

  #keepForm() {
    const { form, input } = this.#nameForm("Keep this session as", "", "Keep", async () => {
      await this.#element.keepAs(input.value);
      form.remove();
      this.#element.dispatchEvent(new CustomEvent("session", { bubbles: true }));
      this.#say("The session is kept, and goes on at the next visit.");
    });
    return form;
  }

  async #downloadChanges() {
    this.#say("The container says what it has changed …");
    const { data, leftOut, layers } = await this.#element.changes();
    downloadLayers([...layers, data], `${shortName(this.#image)}-changes`);
    this.#say(
      leftOut > 0 ? `${leftOut} files have names that no archive of this kind can have.` : "",
    );
  }

  get #image() {
    return this.#element.getAttribute("image") ?? "";
  }

  /** @param {FileSystemDirectoryHandle} [folder] */
  async #saveImage(folder) {
    this.#say("The image is being made …");
    const file = await this.#element.saveImage("latest", folder, (bytes, total) =>
      this.#say(`The image is being made: ${formatBytes(bytes)} of ${formatBytes(total)}`),
    );
    if (file) download(file, `${shortName(this.#image)}.tar`);
    this.#say(folder ? `The image is in the folder “${folder.name}”.` : "The image is made.");
  }

  async #saveFolder() {
    let folder;
    try {
      folder = await /** @type {any} */ (window).showDirectoryPicker({ mode: "readwrite" });
    } catch (error) {
      if (/** @type {any} */ (error)?.name === "AbortError") return;
      throw error;
    }
    await this.#saveImage(folder);
  }

  // -- What is kept ----------------------------------------------------------

  async #refresh() {
    const sessions = await listSessions();
    clearTimeout(this.#timer);
    // Who has it open may be about to close it, and a page that was left has it for another moment.
    if (this.#panel.isConnected && sessions.some(({ name, open }) => open && !this.#isOurs(name)))
      this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
    this.#list.replaceChildren(
      ...(sessions.length > 0
        ? sessions.map((session) => this.#item(session))
        : [make("li", "bm-hint", "None is kept.")]),
    );
  }

  /** Show the sessions as they are now, unless somebody is about to do something with one. */
  async #look() {
    if (this.#list.querySelector("form, .bm-sure"))
      this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
    else await this.#refresh();
  }

  /** @param {SessionInfo} session */
  #item(session) {
    const { name, image, saved, size, machine, open, files, header } = session;
    const date = new Date(saved).toLocaleString();
    const what = machine ? "" : ", files alone";
    const item = make(
      "li",
      "",
      make("strong", "", name),
      make("span", "bm-hint", `${image}, ${formatBytes(size)}${what}, ${date}`),
    );
    const row = make("span", "bm-row");
    if (open) {
      row.append(make("span", "bm-hint", this.#isOurs(name) ? "open here" : "open in another tab"));
    } else {
      const go = makeButton("Open", () => this.#open(session), "Go on with it in this page");
      if (machine) void this.#checkBuild(go, header);
      row.append(
        go,
        makeButton("Rename", () => this.#rename(item, name)),
        makeButton("Export", () => this.#attempt(() => this.#export(name)), "Download its file"),
      );
      if (files)
        row.append(
          makeButton(
            "Files",
            () => this.#attempt(() => this.#downloadFiles(name)),
            "Download what its container has changed",
          ),
        );
      row.append(makeButton("Delete", () => this.#askDelete(row, name)));
    }
    item.append(row);
    return item;
  }

  /**
   * Say of a session that cannot go on here why, in the place of a button that would open it.
   * @param {HTMLElement} button
   * @param {StateHeader} header
   */
  async #checkBuild(button, header) {
    const { misfit } = await import("./misfit.js");
    const reason = await misfit(header.machine).catch(() => "");
    if (reason) button.replaceWith(make("span", "bm-hint", `of another build: ${reason}`));
  }

  /** @param {string} name */
  #isOurs(name) {
    return this.#element.session === name && this.#element.persist !== "no";
  }

  /** @param {SessionInfo} session */
  #open({ name, image, platform, machine }) {
    this.#close();
    this.#element.openSession({ name, image, platform, persist: machine ? "machine" : "files" });
  }

  /** @param {HTMLElement} item @param {string} name */
  #rename(item, name) {
    const { form, input } = this.#nameForm("New name", name, "Rename", () =>
      renameSession(name, input.value),
    );
    item.append(form);
    input.select();
  }

  /** @param {string} name */
  async #export(name) {
    download(await exportSession(name), `${name}.state`);
  }

  /** @param {string} name */
  async #downloadFiles(name) {
    const layers = await filesOfSession(name);
    const blobs = layers.map((layer) => new Blob([/** @type {BlobPart} */ (layer)]));
    downloadLayers(await this.#element.mergeLayers(blobs), name);
  }

  /** @param {HTMLElement} row @param {string} name */
  #askDelete(row, name) {
    const sure = makeButton("Delete it", () => this.#attempt(() => deleteSession(name)));
    sure.className = "bm-sure";
    const keep = makeButton("Keep it", () => void this.#refresh());
    row.replaceChildren(make("span", "bm-hint", "It cannot be had back."), sure, keep);
    keep.focus();
  }

  /**
   * @param {string} label
   * @param {string} value
   * @param {string} button
   * @param {() => Promise<void>} action
   */
  #nameForm(label, value, button, action) {
    const input = make("input", "");
    input.value = value;
    input.required = true;
    input.maxLength = 64;
    input.spellcheck = false;
    input.autocapitalize = "off";
    const form = make("form", "bm-row");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#attempt(action);
    });
    const submit = make("button", "", button);
    form.append(make("label", "", `${label} `, input), submit);
    return { form, input };
  }

  // -- From a file -----------------------------------------------------------

  /** @param {File} file */
  async #inspect(file) {
    const { image, saved, size, machine, files, header } = await inspectSession(file);
    const { misfit } = await import("./misfit.js");
    const reason = machine ? await misfit(header.machine) : "";
    const found = `${image}, ${formatBytes(size)}, saved on ${new Date(saved).toLocaleString()}`;
    if (reason && !files)
      throw new StateError(
        "other-build",
        `This page cannot go on with “${file.name}” (${found}): ${reason}. It opens where the ` +
          "version of browsermount is that has saved it",
      );
    const question = make(
      "p",
      "",
      make("strong", "", file.name),
      `: ${found}. `,
      reason
        ? `This page cannot go on with it: ${reason}. But its files can be laid over the image.`
        : "A session is code: who has made the file decides over all that runs in it, and over what " +
            "is sent from here. Open it only if you trust where it is from.",
    );
    // The same image may have another name where the file was made.
    const same = header.image.digest === this.#element.info?.digest;
    const where = make("input", "");
    where.value = same ? this.#image : image;
    where.required = true;
    where.spellcheck = false;
    const name = file.name.replace(/(\.state)?( ?\(\d+\))?(\.state)?$/, "");
    const { form, input } = this.#nameForm(
      "Name",
      name.replace(/[^A-Za-z0-9._-]/g, "-").slice(0, 64),
      reason ? "Keep its files" : "Keep it",
      async () => {
        await importSession(file, input.value, { filesOnly: reason !== "", image: where.value });
        prompt.remove();
      },
    );
    form.prepend(make("label", "", "Image ", where));
    form.append(makeButton("Cancel", () => prompt.remove()));
    const prompt = make("div", "bm-question", question, form);
    prompt.setAttribute("role", "alertdialog");
    prompt.setAttribute("aria-label", "Open a session from a file");
    this.#panel.querySelector(".bm-question")?.remove();
    this.#note.before(prompt);
    input.focus();
  }
}
