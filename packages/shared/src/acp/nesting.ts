const [quote, backslash, openSquare, closeSquare, openCurly, closeCurly] = [0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Whether a JSON text nests arrays and objects deeper than `depthMax`. Looked at on the bytes, before anything parses them:
 * sixteen megabytes of brackets would be as many arrays, and what walks values goes down by calls.
 */
export function nestsDeeper(json: Uint8Array, depthMax: number): boolean {
  if (json.length <= depthMax) return false;
  let depth = 0;
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at];
    if (byte === quote) {
      at = stringEnd(json, at + 1);
    } else if (byte === openCurly || byte === openSquare) {
      depth += 1;
      if (depth > depthMax) return true;
    } else if (byte === closeCurly || byte === closeSquare) depth -= 1;
  }
  return false;
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
