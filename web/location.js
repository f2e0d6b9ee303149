/**
 * The image that a page's address asks for, or undefined where it asks for none.
 *
 * The value may be percent-encoded or not.  A URL that stands there as it is may
 * have a query and a fragment of its own, so all that follows belongs to it.
 *
 * @param {{ search: string, hash: string }} location
 * @returns {string | undefined}
 */
export function imageOf({ search, hash }) {
  const found = /[?&]image=(.*)$/s.exec(search);
  if (!found) return undefined;
  const rest = found[1];
  // Who encodes nothing else encodes the # of a name, as it would end the query.
  if (/^https?:\/\//i.test(rest)) return (rest + hash).replace("%23", "#");
  const value = rest.split("&", 1)[0];
  let decoded = value;
  try {
    decoded = decodeURIComponent(value);
  } catch {
    // Not percent-encoded after all: a per cent sign stands for itself.
  }
  if (!decoded) return undefined;
  return decoded.includes("#") ? decoded : decoded + hash;
}
