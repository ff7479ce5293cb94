import { z } from "zod";
import type { CurrentFile } from "./file-change.ts";
import { difference } from "../../difference.ts";
import { changedSinceShown, currentFile, replaceFile } from "./file-change.ts";
import { defineTool, ToolError } from "./tool.ts";

interface Replacement {
  readonly path: string;
  readonly old_text: string;
  readonly new_text: string;
}

/** Replace one piece of a file. */
export const edit = defineTool({
  name: "edit",
  kind: "edit",
  description: "Replace one piece of a file. old_text must occur in it exactly once, character for character. The user is asked first.",
  input: z.strictObject({
    path: z.string().min(1).describe("Relative to the working directory."),
    old_text: z.string().min(1).describe("What is there now, with enough around it to be unique."),
    new_text: z.string().describe("What shall stand there instead."),
  }),
  title: ({ path }) => `edit ${path}`,
  location: ({ path }) => path,

  async preview(input, context) {
    const file = await currentFile(input.path, context);
    return {
      text: difference(context.paths.show(file.path), file.text, edited(file, input)),
      fileDigest: file.digest,
      pattern: { type: "path", path: file.path },
    };
  },

  async *run(input, context) {
    const file = await currentFile(input.path, context);
    if (!context.isAsShown(file.digest)) return { ok: false, text: changedSinceShown };
    await replaceFile(file, edited(file, input), context);
    return { ok: true, text: `Edited ${context.paths.show(file.path)}.` };
  },
});

function edited({ text }: CurrentFile, { path, old_text, new_text }: Replacement): string {
  if (text === null) throw new ToolError(`There is no file ${path}.`);
  const at = text.indexOf(old_text);
  if (at < 0) throw new ToolError(`old_text does not occur in ${path}. Read the file and copy the piece exactly.`);
  if (text.indexOf(old_text, at + 1) >= 0) throw new ToolError(`old_text occurs more than once in ${path}. Take more of what stands around it.`);
  // Not String.replace: it gives `$&` and the like in the new text a meaning.
  return text.slice(0, at) + new_text + text.slice(at + old_text.length);
}
