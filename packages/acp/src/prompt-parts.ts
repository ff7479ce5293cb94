import type { ContentPart } from "@sessiond/client";
import type { AcpContentBlock, ReadContentBlock } from "@sessiond/shared/acp";
import { refused } from "./errors.ts";

/** The editor's content blocks as parts of a prompt, and the other way round. */

const nameCharsMax = 200;
const mediaType = /^[\w.+-]+\/[\w.+-]+(;[ -~]*)?$/;

/** @throws AcpError for what no agent here is given */
export function partsOf(blocks: readonly ReadContentBlock[]): ContentPart[] {
  const parts: ContentPart[] = [];
  for (const block of blocks) {
    const part = partOf(block);
    const last = parts.at(-1);
    // Editors cut a text at each mention in it; a prompt has room for fewer parts.
    if (part.type === "text" && last?.type === "text") parts[parts.length - 1] = { type: "text", text: last.text + part.text };
    else parts.push(part);
  }
  if (parts.length === 0) throw refused("The prompt is empty.");
  return parts;
}

function partOf(block: ReadContentBlock): ContentPart {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text };
    case "image":
      return { type: "image", mime_type: block.mimeType, data: block.data };
    case "resource_link":
      return { type: "resource_link", uri: block.uri, name: block.name.slice(0, nameCharsMax) || block.uri.slice(0, nameCharsMax), ...typeOf(block.mimeType) };
    case "resource": {
      const { resource } = block;
      if (!("text" in resource))
        throw refused(`${resource.uri} is not text, so it cannot go with a prompt. Give a link to it: the agent can read the file itself.`);
      return { type: "resource", uri: resource.uri, text: resource.text, ...typeOf(resource.mimeType) };
    }
    case "audio":
    case "unknown":
      throw refused("The prompt holds content that cannot go with it: text, images, texts of resources and links can.");
  }
}

/** What is no media type is left out: nobody needs it to read a text. */
const typeOf = (given: string | null | undefined): { mime_type?: string } =>
  given != null && given.length <= 128 && mediaType.test(given) ? { mime_type: given } : {};

export function blockOf(part: ContentPart): AcpContentBlock {
  switch (part.type) {
    case "text":
      return { type: "text", text: part.text };
    case "image":
      return { type: "image", mimeType: part.mime_type, data: part.data };
    case "resource":
      return { type: "resource", resource: { uri: part.uri, text: part.text, ...(part.mime_type !== undefined && { mimeType: part.mime_type }) } };
    case "resource_link":
      return { type: "resource_link", uri: part.uri, name: part.name, ...(part.mime_type !== undefined && { mimeType: part.mime_type }) };
  }
}
