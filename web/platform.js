/** What a person is told about an image's platform. */

/** What the machine runs by itself: NATIVE in browsermount/oci/platform.py. */
const NATIVE = "linux/386";

/**
 * @param {string} platform as in an image's index
 * @returns {string} one line; empty where there is nothing to say
 */
export function translationNote(platform) {
  if (platform === NATIVE) return "";
  return `This image is for ${platform}: its programs are translated, and run several times slower.`;
}
