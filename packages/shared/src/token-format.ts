/**
 * The look of a secret: `ssd_<v|c>_<session id>_<secret><crc>` for a session's token,
 * `ssdk_<key id>_<secret><crc>` for an API key, `ssdh_<secret><crc>` for the host key. The prefix lets scanners find a leaked one, the
 * checksum (CRC-32, base62, six characters) tells a typing error from an unknown secret
 * without asking anybody. The idea is GitHub's token format.
 */
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const checksumChars = 6;
const tokenPattern = /^ssd_([vc])_(ses_[0-9A-Za-z]{22,40})_([0-9A-Za-z]{38})$/;
const apiKeyPattern = /^ssdk_(key_[0-9A-Za-z]{22,40})_([0-9A-Za-z]{38})$/;
const hostKeyPattern = /^ssdh_([0-9A-Za-z]{49})$/;

export type Right = "view" | "control";

/** CRC-32 (IEEE 802.3, reflected) of an ASCII text, in base62. */
export function checksum(text: string): string {
  let crc = 0xffffffff;
  for (let index = 0; index < text.length; index++) {
    crc ^= text.charCodeAt(index);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  let rest = (crc ^ 0xffffffff) >>> 0;
  let digits = "";
  for (let place = 0; place < checksumChars; place++) {
    digits = alphabet.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

const sealed = (body: string): string => body + checksum(body);
const intact = (secret: string): boolean => checksum(secret.slice(0, -checksumChars)) === secret.slice(-checksumChars);

/** @param secret  32 base62 characters (190 bits) */
export const formatToken = (right: Right, sessionId: string, secret: string): string => sealed(`ssd_${right === "view" ? "v" : "c"}_${sessionId}_${secret}`);

/** @param secret  32 base62 characters (190 bits) */
export const formatApiKey = (keyId: string, secret: string): string => sealed(`ssdk_${keyId}_${secret}`);

/** @param secret  43 base62 characters (256 bits) */
export const formatHostKey = (secret: string): string => sealed(`ssdh_${secret}`);

/** The session and right that a token claims, or null when it is malformed or mistyped. Says nothing about validity. */
export function readToken(token: unknown): { sessionId: string; right: Right } | null {
  if (typeof token !== "string") return null;
  const match = tokenPattern.exec(token);
  const sessionId = match?.[2];
  if (sessionId === undefined || !intact(token)) return null;
  return { sessionId, right: match?.[1] === "v" ? "view" : "control" };
}

/** The id that an API key claims, or null when it is malformed or mistyped. Says nothing about validity. */
export function readApiKey(key: unknown): string | null {
  if (typeof key !== "string") return null;
  const keyId = apiKeyPattern.exec(key)?.[1];
  return keyId !== undefined && intact(key) ? keyId : null;
}

/** True when a text has one of our secrets in it, or most of one: somebody put it into the wrong field. */
export const holdsSecret = (text: string): boolean => /ssdh_[0-9A-Za-z]{16}|ssdk_key_|ssd_[vc]_ses_/.test(text);

/** The text with none of our secrets in it: for what is written down or shown, wherever it is from. */
export const withoutSecrets = (text: string): string => text.replace(/(ssdh_|ssdk_key_|ssd_[vc]_ses_)[0-9A-Za-z_]+/g, "$1…");

export const isHostKey = (key: unknown): key is string => typeof key === "string" && hostKeyPattern.test(key) && intact(key);
