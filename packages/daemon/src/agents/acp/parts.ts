import { wordsOf, type ContentPart } from "@sessiond/shared";
import type { AcpContentBlock } from "@sessiond/shared/acp";

/** What an agent said that it takes. */
export interface Takes {
  readonly images: boolean;
  /** Texts that go with a prompt, as such. */
  readonly embedded: boolean;
}

/** A prompt as ACP's content; what the agent does not take, it gets in words. Images it must take: nothing stands for one. */
export const contentOf = (parts: readonly ContentPart[], takes: Takes): AcpContentBlock[] => parts.map((part) => blockOf(part, takes));

function blockOf(part: ContentPart, { embedded }: Takes): AcpContentBlock {
  switch (part.type) {
    case "text":
      return { type: "text", text: part.text };
    case "image":
      return { type: "image", mimeType: part.mime_type, data: part.data };
    case "resource_link":
      return { type: "resource_link", uri: part.uri, name: part.name, ...(part.mime_type !== undefined && { mimeType: part.mime_type }) };
    case "resource":
      return embedded
        ? { type: "resource", resource: { uri: part.uri, text: part.text, ...(part.mime_type !== undefined && { mimeType: part.mime_type }) } }
        : { type: "text", text: wordsOf([part]) };
  }
}

/** Why it cannot take these, or null. */
export function whyRefused(parts: readonly ContentPart[], takes: Takes, name: string): string | null {
  return !takes.images && parts.some((part) => part.type === "image") ? `the agent ${name} takes no images; name the file in the prompt` : null;
}
