import type { Limits } from "../limits.ts";

const [quote, backslash, comma, openSquare, closeSquare, openCurly, closeCurly] = [0x22, 0x5c, 0x2c, 0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Which limit a JSON text is beyond: how deep it nests arrays and objects, or how many values it has. Looked at on the bytes,
 * before anything parses them: sixteen megabytes of brackets would be as many arrays, what walks values goes down by calls,
 * and each value that is not what it should be costs thousands of times what its two bytes did.
 */
export function shapeBeyond(json: Uint8Array, limits: Pick<Limits, "acp_depth_max" | "acp_values_max">): "acp_depth_max" | "acp_values_max" | null {
  const { acp_depth_max: depthMax, acp_values_max: valuesMax } = limits;
  if (json.length <= Math.min(depthMax, valuesMax)) return null;
  let depth = 0;
  // One more than there are commas between them, not counting what is around them.
  let values = 1;
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at];
    if (byte === quote) {
      at = stringEnd(json, at + 1);
    } else if (byte === comma) {
      values += 1;
      if (values > valuesMax) return "acp_values_max";
    } else if (byte === openCurly || byte === openSquare) {
      depth += 1;
      if (depth > depthMax) return "acp_depth_max";
    } else if (byte === closeCurly || byte === closeSquare) depth -= 1;
  }
  return null;
}

/** Where the string ends whose text begins at `from`: the place of its closing quote, or the end of the bytes. */
function stringEnd(json: Uint8Array, from: number): number {
  for (let end = json.indexOf(quote, from); end !== -1; end = json.indexOf(quote, end + 1)) {
    let slashes = 0;
    while (end - slashes > from && json[end - slashes - 1] === backslash) slashes += 1;
    if (slashes % 2 === 0) return end;
  }
  return json.length;
}
