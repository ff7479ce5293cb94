import { nestsAtMost, schemas, type Limits } from "@sessiond/shared";

/** Whatever an agent sends, what becomes of it fits into an event: a frame that did not would end the turn. */

/** The beginning; no half of a character is left at the cut. */
export function clip(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  const isHalved = /[\ud800-\udbff]/.test(text.charAt(charsMax - 1));
  return text.slice(0, isHalved ? charsMax - 1 : charsMax);
}

/** A line for a list. */
export const line = (text: string, charsMax: number): string => clip(text.replace(/\s+/gu, " ").trim(), charsMax);

/** In pieces that are no longer than so many characters each. */
export function pieces(text: string, charsMax: number): string[] {
  const all: string[] = [];
  for (let rest = text; rest !== ""; rest = rest.slice(all.at(-1)?.length ?? rest.length)) all.push(clip(rest, charsMax));
  return all;
}

/** Head and end of what is too long, with a line between them that says how much is missing. */
export function headAndEnd(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return text;
  const half = Math.floor(bytesMax / 2);
  // A character that was cut in two is left out.
  const isInside = (at: number): boolean => ((bytes[at] ?? 0) & 0xc0) === 0x80;
  let [to, from] = [half, bytes.length - half];
  while (isInside(to)) to -= 1;
  while (isInside(from)) from += 1;
  const [head, end] = [bytes.subarray(0, to).toString("utf8"), bytes.subarray(from).toString("utf8")];
  return `${head}\n… ${from - to} bytes left out …\n${end}`;
}

/** As a tool's arguments; what is no object stands under `value`. Null when there are too many of them. */
export function inputOf(raw: unknown, limits: Limits): Record<string, unknown> | null {
  const input = raw === undefined ? {} : typeof raw === "object" && raw !== null && !Array.isArray(raw) ? { ...raw } : { value: raw };
  if (!nestsAtMost(limits.tool_input_depth_max, input)) return null;
  const text = JSON.stringify(input);
  return text.length <= limits.tool_input_bytes_max && Buffer.byteLength(text) <= limits.tool_input_bytes_max ? input : null;
}

export function locationsOf(given: readonly { readonly path: string; readonly line?: number | undefined }[], limits: Limits) {
  const fit = given.filter(({ path }) => path !== "" && path.length <= limits.workdir_bytes_max);
  return fit
    .slice(0, limits.locations_max)
    .map(({ path, line: at }) => ({ path, ...(at !== undefined && Number.isSafeInteger(at) && at >= 0 && { line: at }) }));
}

export const toolKindOf = (kind: unknown) => schemas.toolKind.catch("other").parse(kind);
