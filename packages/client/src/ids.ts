import { customAlphabet } from "nanoid";

/** Ids and secrets that the client makes: random, base62, never used again. */
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const id = customAlphabet(base62, 22);
const secret = customAlphabet(base62, 32);

/** The name under which one prompt may be sent again: `prm_` and 131 random bits. */
export const newPromptId = (): string => `prm_${id()}`;

export const newRequestId = (): string => `req_${id()}`;

/** What proves to be the client that took a seat; 190 random bits. */
export const newSeatSecret = (): string => secret();
