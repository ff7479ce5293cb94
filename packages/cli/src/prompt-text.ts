import { wordsOf, type ContentPart } from "@sessiond/client";

/** A prompt for a person's eyes: what was typed is whole; what goes with it is named, with its size. */
export const promptText = (parts: readonly ContentPart[]): string =>
  parts
    .map((part) => {
      if (part.type !== "resource") return wordsOf([part]);
      const lines = part.text.replace(/\n$/, "").split("\n").length;
      return `[${part.uri}, ${lines} line${lines === 1 ? "" : "s"}]`;
    })
    .join("\n");
