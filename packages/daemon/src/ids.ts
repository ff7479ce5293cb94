import { createHash } from "node:crypto";
import { customAlphabet } from "nanoid";

/** Identities that the daemon mints: base62, random, never used again. */
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const random22 = customAlphabet(base62, 22);
const random32 = customAlphabet(base62, 32);
const random43 = customAlphabet(base62, 43);

/** 22 characters are 131 bits: not to be guessed, not to be met twice. */
export const mintId = (kind: "ses" | "seat" | "trn" | "apr" | "tok" | "key" | "rul" | "srv"): string => `${kind}_${random22()}`;
export const mintBootId = (): string => random22();
/** The secret part of a session's token, and of an API key. */
export const mintTokenSecret = (): string => random32();
/** The secret part of the host key. */
export const mintHostSecret = (): string => random43();
/** Which installation marks its children: the one with this state directory. */
export const installIdOf = (stateDir: string): string => createHash("sha256").update(stateDir).digest("hex").slice(0, 16);
