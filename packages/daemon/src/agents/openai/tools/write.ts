import { z } from "zod";
import { difference } from "../../difference.ts";
import { changedSinceShown, currentFile, replaceFile } from "./file-change.ts";
import { defineTool } from "./tool.ts";

/** Write a whole file. */
export const write = defineTool({
  name: "write",
  kind: "edit",
  description: "Create a file, or replace its whole content. Directories are made as needed. The user is asked first.",
  input: z.strictObject({
    path: z.string().min(1).describe("Relative to the working directory."),
    content: z.string().describe("The whole new content."),
  }),
  title: ({ path }) => `write ${path}`,
  location: ({ path }) => path,

  async preview({ path, content }, context) {
    const file = await currentFile(path, context);
    const name = context.paths.show(file.path);
    const old = file.text;
    // A diff against a very large file would be mostly what goes away; the new content is what matters then.
    const text =
      old !== null && old.length > context.limits.tool_input_bytes_max
        ? `Replaces all ${old.length} characters of ${name} with:\n\n${content}`
        : difference(name, old, content);
    return { text, fileDigest: file.digest, pattern: { type: "path", path: file.path } };
  },

  async *run({ path, content }, context) {
    const file = await currentFile(path, context);
    if (!context.isAsShown(file.digest)) return { ok: false, text: changedSinceShown };
    await replaceFile(file, content, context);
    return { ok: true, text: `${file.text === null ? "Created" : "Replaced"} ${context.paths.show(file.path)} (${Buffer.byteLength(content)} bytes).` };
  },
});
