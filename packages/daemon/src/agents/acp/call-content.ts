import { wordsOf, type Diff, type Limits } from "@sessiond/shared";
import type { ReadContentBlock, ReadToolContent } from "@sessiond/shared/acp";

/** What a tool call shows and has brought about, out of its content. */

/** Texts, one below the other; null where there is none. */
export function textOf(content: readonly ReadToolContent[]): string | null {
  const texts = content.flatMap((each) =>
    each.type === "content" ? [wordsOfBlock(each.content)] : each.type === "unknown" ? [wordsOfUnknown(each.unknown)] : [],
  );
  return texts.length === 0 ? null : texts.join("\n");
}

/** What is too large is left out: the whole of an event has a bound. */
export function diffsOf(content: readonly ReadToolContent[], limits: Limits): Diff[] {
  // As many characters as escaped in JSON still fit into a line of the journal.
  let room = 2 * limits.diff_chars_max;
  const diffs: Diff[] = [];
  for (const each of content) {
    if (each.type !== "diff" || diffs.length >= limits.locations_max) continue;
    const { path, newText: new_text } = each;
    const old_text = each.oldText ?? null;
    const most = Math.max(new_text.length, old_text?.length ?? 0);
    const size = new_text.length + (old_text?.length ?? 0);
    if (path.length > limits.workdir_bytes_max || most > limits.diff_chars_max || size > room) continue;
    room -= size;
    diffs.push({ path, old_text, new_text });
  }
  return diffs;
}

/** A block in words, as `wordsOf` gives those of a prompt. */
export function wordsOfBlock(block: ReadContentBlock): string {
  switch (block.type) {
    case "text":
      return block.text;
    case "image":
      return wordsOf([{ type: "image", mime_type: block.mimeType, data: block.data }]);
    case "resource_link":
      return wordsOf([{ type: "resource_link", uri: block.uri, name: block.name }]);
    case "resource":
      return "text" in block.resource ? wordsOf([{ type: "resource", uri: block.resource.uri, text: block.resource.text }]) : `[${block.resource.uri}]`;
    case "audio":
      return `[${block.mimeType}, ${Math.ceil((block.data.length * 3) / 4 / 1024)} kB]`;
    case "unknown":
      return wordsOfUnknown(block.unknown);
  }
}

/** As it was said: a person may be asked about it. */
const wordsOfUnknown = (raw: unknown): string => JSON.stringify(raw, null, 2) ?? "";
