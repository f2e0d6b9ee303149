/**
 * What a page's address asks for: `?image=`, and how it is reached.
 *
 * A URL that stands there as it is, not percent-encoded, may have a query and a
 * fragment of its own: where it has a query, all that follows belongs to it.
 */

/** What runs where the address names no image. */
export const DEFAULT_IMAGE = "images/default/";

/**
 * The image that a page's address asks for, or undefined where it asks for none.
 *
 * @param {{ search: string, hash: string }} location
 * @returns {string | undefined}
 */
export function imageOf({ search, hash }) {
  const found = /[?&]image=(.*)$/s.exec(search);
  if (!found) return undefined;
  const rest = found[1];
  const own = /^https?:\/\//i.test(rest) && rest.includes("?");
  // Who encodes nothing else encodes the # of a name, as it would end the query.
  if (own) return (rest + hash).replace("%23", "#");
  const value = rest.split("&", 1)[0];
  if (/^https?:\/\//i.test(value)) return (value + hash).replace("%23", "#");
  let decoded = value;
  try {
    decoded = decodeURIComponent(value);
  } catch {
    // Not percent-encoded after all: a per cent sign stands for itself.
  }
  if (!decoded) return undefined;
  return decoded.includes("#") ? decoded : decoded + hash;
}

/**
 * What a page's address says under another name than `image`; "" for nothing.
 *
 * @param {{ search: string }} location
 * @param {string} name
 */
export function parameterOf({ search }, name) {
  const image = /[?&]image=https?:\/\/[^&]*\?.*$/is.exec(search);
  const own = image ? search.slice(0, image.index) : search;
  return new URLSearchParams(own).get(name) ?? "";
}
