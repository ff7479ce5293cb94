import { StringDecoder } from "node:string_decoder";
import { z } from "zod";
import { defineTool } from "./tool.ts";
import type { ToolContext } from "./tool.ts";

interface Wanted {
  readonly real: string;
  /** First line, from 1. */
  readonly offset: number;
  /** Lines. */
  readonly limit: number;
}

/** Read a text file, a bounded piece at a time. */
export const read = defineTool({
  name: "read",
  kind: "read",
  description: "Read a text file. Long files come in pieces: the last line says at which offset to go on.",
  input: z.strictObject({
    path: z.string().min(1).describe("Relative to the working directory."),
    offset: z.int().min(1).nullish().describe("First line, counted from 1."),
    limit: z.int().min(1).nullish().describe("How many lines."),
  }),
  title: ({ path }) => `read ${path}`,
  location: ({ path }) => path,

  async *run({ path, offset, limit }, context) {
    const real = await context.paths.resolve(path);
    return readLines({ real, offset: offset ?? 1, limit: limit ?? Number.MAX_SAFE_INTEGER }, context);
  },
});

const pieceBytes = 65_536;

async function readLines({ real, offset, limit }: Wanted, { paths, limits, signal }: ToolContext): Promise<{ ok: boolean; text: string }> {
  const file = await paths.open(real);
  try {
    const { size } = await file.stat();
    const name = paths.show(real);
    const decoder = new StringDecoder("utf8");
    const piece = Buffer.alloc(pieceBytes);
    const last = limit >= Number.MAX_SAFE_INTEGER - offset ? Infinity : offset + limit - 1;
    let [line, text, bytes, full, more] = [1, "", 0, false, false];
    // Line by line, so that neither a large file nor a late offset needs memory.
    const take = (part: string): void => {
      if (line >= offset && line <= last && !full) {
        const room = limits.tool_read_bytes_max - bytes;
        const fits = Buffer.byteLength(part) <= room;
        full = !fits;
        // A single line that is longer than everything allowed is cut; else whole lines are given.
        if (fits || bytes === 0) text += fits ? part : part.slice(0, room);
        bytes += Buffer.byteLength(part);
        if (full) more = true;
      } else if (line > last) more = true;
    };
    for (let first = true; !more && !signal.aborted; first = false) {
      const { bytesRead } = await file.read(piece, 0, pieceBytes, null);
      if (first && piece.subarray(0, bytesRead).includes(0)) return { ok: false, text: `${name} is a binary file of ${size} bytes.` };
      const chunk = bytesRead === 0 ? decoder.end() : decoder.write(piece.subarray(0, bytesRead));
      for (let at = 0; at < chunk.length && !more;) {
        const end = chunk.indexOf("\n", at) + 1 || chunk.length;
        take(chunk.slice(at, end));
        if (!more && chunk[end - 1] === "\n") line += 1;
        at = end;
      }
      if (bytesRead === 0) break;
    }
    if (text === "") return { ok: true, text: size === 0 ? `${name} is empty.` : `${name} has no line ${offset}.` };
    // Where a line was cut in the middle, going on means after it: its rest is beyond what this tool can give.
    return {
      ok: true,
      text: more ? `${text}${text.endsWith("\n") ? "" : "\n"}… there is more; go on with offset ${full && !text.endsWith("\n") ? line + 1 : line}.` : text,
    };
  } finally {
    await file.close();
  }
}
