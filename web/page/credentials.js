/**
 * The form in which a person signs in to a registry.
 *
 * What is entered is kept in this tab's memory, for as long as the page is open, and nowhere else.
 */

/** @import { Credentials, CredentialRequest } from "../messages.js" */

/** What was entered, by the host that it is for. @type {Map<string, Credentials>} */
const remembered = new Map();

/**
 * The forms that have not been answered, by the host that they are for.
 * @type {Map<string, { form: HTMLFormElement, answer: Promise<Credentials | null> }>}
 */
const open = new Map();

let forms = 0;

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Partial<HTMLElementTagNameMap[K]>} properties
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/**
 * Ask for credentials, unless those for the same host are known and have not been refused.
 *
 * @param {HTMLElement} parent Gets the form as its first child, until it is answered.
 * @param {CredentialRequest} request
 * @returns {Promise<Credentials | null>} null when the person cancels
 */
export function askCredentials(parent, request) {
  // A registry that names another token server than before has not been trusted with that.
  const key = [request.registry, request.via, request.token_server].join(" ");
  const known = remembered.get(key);
  if (known && !request.refused) return Promise.resolve(known);
  remembered.delete(key);
  // Whoever asked first may have given up; one answer is enough for all.
  const asked = open.get(key);
  if (asked?.form.isConnected) return asked.answer;
  const { form, username, secret, cancel } = makeForm(request, known);
  /** @type {Promise<Credentials | null>} */
  const answer = new Promise((resolve) => {
    /** @param {Credentials | null} answer */
    const finish = (answer) => {
      form.remove();
      open.delete(key);
      if (answer) remembered.set(key, answer);
      resolve(answer);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      finish({ username: username.value.trim(), secret: secret.value });
    });
    cancel.addEventListener("click", () => finish(null));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") finish(null);
    });
  });
  open.set(key, { form, answer });
  parent.prepend(form);
  form.scrollIntoView({ block: "nearest" });
  (username.value ? secret : username).focus();
  return answer;
}

/** @param {CredentialRequest} request @param {Credentials | undefined} before */
function makeForm(request, before) {
  forms += 1;
  const id = (/** @type {string} */ name) => `bm-${name}-${forms}`;
  const { registry, via, refused, token_server: tokenServer } = request;
  // What is said here comes from our own requests: a realm is whatever the registry calls it.
  const named =
    tokenServer && tokenServer !== registry ? ", which the registry names for that" : "";
  const receiver = (tokenServer || registry) + named;
  const title = make(
    "h3",
    { id: id("title"), className: "bm-form-title" },
    via ? `Sign in to ${registry} through ${via}` : `Sign in to ${registry}`,
  );
  const explanation = make(
    "p",
    { id: id("explanation"), className: "bm-hint" },
    "This registry wants to know who pulls the image. " +
      `What you enter is sent to ${via ? `${via}, which passes it on to ${receiver}` : receiver}. ` +
      "It is kept only until you close or reload this page.",
  );
  const username = make("input", {
    id: id("username"),
    type: "text",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: false,
    value: before?.username ?? "",
  });
  const secret = make("input", {
    id: id("secret"),
    type: "password",
    autocomplete: "off",
    required: true,
  });
  const cancel = make("button", { type: "button", className: "bm-button" }, "Cancel");
  const form = make("form", { className: "bm-credentials" }, title);
  form.setAttribute("aria-labelledby", title.id);
  form.setAttribute("aria-describedby", explanation.id);
  if (refused) {
    const alert = make(
      "p",
      { className: "bm-refused" },
      "These credentials were refused, or do not suffice for this image. Check the user name and " +
        "the password or token.",
    );
    alert.setAttribute("role", "alert");
    form.append(alert);
    secret.setAttribute("aria-invalid", "true");
  }
  form.append(explanation);
  if (via) {
    form.append(
      make("p", { className: "bm-refused" }, `It passes through ${via}, which can read it.`),
    );
  }
  const note = make(
    "small",
    { id: id("note"), className: "bm-hint" },
    "Leave this empty if you have only an identity token.",
  );
  username.setAttribute("aria-describedby", note.id);
  form.append(
    make("label", { htmlFor: username.id }, "User name"),
    username,
    note,
    make("label", { htmlFor: secret.id }, "Password or token"),
    secret,
    make(
      "div",
      { className: "bm-buttons" },
      make("button", { type: "submit", className: "bm-button" }, "Sign in"),
      cancel,
    ),
  );
  return { form, username, secret, cancel };
}
