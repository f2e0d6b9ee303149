/** What a person is told about an image's platform. */

/** What the machines run by themselves: see browsermount/machines.py. */
const NATIVE = /^linux\/386(\/|$)/;
const NATIVE_64 = /^linux\/amd64(\/v[12])?$/;

/**
 * @param {string} platform as in an image's index
 * @returns {"v86" | "x64"} the machine that runs it: machine_for() in browsermount/machines.py
 */
export function machineFor(platform) {
  return NATIVE_64.test(platform) ? "x64" : "v86";
}

/**
 * @param {string} platform as in an image's index
 * @returns {string} one line; empty where there is nothing to say
 */
export function translationNote(platform) {
  if (NATIVE.test(platform) || NATIVE_64.test(platform)) return "";
  return `This image is for ${platform}: its programs are translated, and run several times slower.`;
}
