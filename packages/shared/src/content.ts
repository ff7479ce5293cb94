import type { ContentPart } from "./schemas.ts";

/** A prompt in words: for people, and for agents that take text alone. A picture is named, with its size. */
export const wordsOf = (parts: readonly ContentPart[]): string => parts.map(wordsOfPart).join("\n");

function wordsOfPart(part: ContentPart): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "image":
      return `[${part.mime_type}, ${Math.ceil((part.data.length * 3) / 4 / 1024)} kB]`;
    case "resource":
      return `[${part.uri}]\n${part.text}`;
    case "resource_link":
      return `[${part.name}](${part.uri})`;
  }
}
