/** What a person is told about an image's platform. */

/** What the machines run by themselves, the 32-bit one only this: see browsermount/machines.py. */
const NATIVE_32 = /^linux\/386(\/|$)/;
const NATIVE = /^linux\/(386|amd64)(\/|$)/;
const LEVEL_3 = /(amd64|x86[_-]64)\/v3$/i;

/** The machines by their bits, as people ask for them. @type {Record<string, "v86" | "x64">} */
const MACHINES = { 32: "v86", 64: "x64" };

/**
 * @param {string} platform as in an image's index
 * @param {string} wanted the machine that is asked for, "32" or "64"; anything else for none
 * @returns {"v86" | "x64"} the machine that runs it: machine_for() in browsermount/machines.py
 */
export function machineFor(platform, wanted = "") {
  return MACHINES[wanted] ?? (NATIVE_32.test(platform) ? "v86" : "x64");
}

/**
 * @param {...string} platforms an image's, and the one that is asked for
 * @returns {number | undefined} the level of the x86-64 ABI that the machine's programs are told of, where it is
 *   not the usual one: level_for() in browsermount/machines.py
 */
export function levelFor(...platforms) {
  return platforms.some((platform) => LEVEL_3.test(platform)) ? 3 : undefined;
}

/**
 * @param {string} platform as in an image's index
 * @returns {string} one line; empty where there is nothing to say
 */
export function translationNote(platform) {
  if (NATIVE.test(platform)) return "";
  return `This image is for ${platform}: its programs are translated, and run several times slower.`;
}

/**
 * One way to run an image.
 * @typedef {{ platform: string, machine: string }} Choice `machine` is "64" where it is not the one
 *   that such images have by themselves
 */

/**
 * @param {string[]} platforms
 * @returns {(Choice & { text: string })[]} the ways to run an image that is there for these
 */
export function choicesOf(platforms) {
  return platforms.sort().flatMap((platform) => {
    const choices = [{ platform, machine: "", text: platform }];
    if (NATIVE_32.test(platform))
      choices.push({ platform, machine: "64", text: `${platform}, exact arithmetic (slower)` });
    return choices;
  });
}
