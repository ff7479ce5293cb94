import { createHash } from "node:crypto";

/** A short text is itself; a long one stands for itself by its digest: a hundred megabytes of frames are kept in mind this way. */
export const briefOf = (text: string): string => (text.length <= 512 ? text : `${text.slice(0, 64)}…${createHash("sha256").update(text).digest("hex")}`);
