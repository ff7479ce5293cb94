import { checksum, type GateWord, type Row, type Scope } from "@sessiond/shared";
import { seatSecretOf, type World } from "./gate-world.ts";

/** Everybody who might come to the door, and what a gate's word asks of each: no verb is named here. */
export interface Caller {
  readonly name: string;
  readonly auth: unknown;
  /** Of a live token of this very session. */
  readonly right?: "view" | "control";
  readonly seat?: "viewer" | "driver";
  readonly host?: "good" | "bad";
  /** The named token itself, or an ancestor of it. */
  readonly lineage?: boolean;
  /** False: a token minted it. */
  readonly hostMinted?: boolean;
  /** An API key in its `auth`: `none` where it is not one that lives. */
  readonly key?: "none" | KeyHeld;
  /** Put over the verb's input. */
  readonly input?: Readonly<Record<string, unknown>>;
}

export interface KeyHeld {
  readonly scopes: readonly Scope[];
  /** The session that the call names, where it names one, lies within its roots. */
  readonly sees: boolean;
  /** The token that the call names, where it names one, was given to it or to a key that it made. */
  readonly gave: boolean;
  /** False: by the secret before, in its overlap. */
  readonly newest: boolean;
}

/** What a call is about. */
interface Asked {
  readonly word: GateWord;
  readonly scope: Row["scope"];
  readonly newest_secret?: Row["newest_secret"];
  /** By which door: the host key counts at one alone. */
  readonly door: "unix" | "tcp";
  readonly namesSession: boolean;
}

/** Of an API key where a word says `host`. */
function expectedOfKey({ scopes, sees, gave, newest }: KeyHeld, { word, scope, newest_secret: mustBeNewest, namesSession }: Asked): string {
  if (scope === null || !scopes.includes(scope) || (mustBeNewest === true && !newest)) return "role_too_small";
  if (namesSession && !sees) return "unauthenticated";
  return word === "host_or_lineage" && !gave ? "role_too_small" : "pass";
}

/** What a word asks of a caller; `pass` when it is there. */
export function expected(asked: Asked, { right, seat, host, lineage, hostMinted, key }: Caller): string {
  const { word, door } = asked;
  const token = (needs: "view" | "control"): string =>
    right === undefined ? "unauthenticated" : needs === "control" && right === "view" ? "role_too_small" : "pass";
  const seated = (needs: "view" | "control"): string => (token(needs) !== "pass" ? token(needs) : seat === undefined ? "not_attached" : "pass");
  const or = (other: () => string): string => {
    if (host !== undefined) return host === "good" && door === "unix" ? "pass" : "unauthenticated";
    if (key !== undefined) return key === "none" ? "unauthenticated" : expectedOfKey(key, asked);
    return other();
  };
  switch (word) {
    case "open":
      return "pass";
    case "host":
      return or(() => "unauthenticated");
    case "view":
    case "control":
      return token(word);
    case "host_or_view":
      return or(() => token("view"));
    case "host_or_control":
      return or(() => token("control"));
    case "host_or_lineage":
      return or(() => (right === undefined ? "unauthenticated" : lineage === true ? "pass" : "role_too_small"));
    case "seat":
      return seated("view");
    case "control_seat":
      return seated("control");
    case "driver":
      return seated("control") === "pass" && seat !== "driver" ? "not_driver" : seated("control");
    case "host_minted_driver": {
      const drives = seated("control") === "pass" && seat !== "driver" ? "not_driver" : seated("control");
      return drives === "pass" && hostMinted === false ? "role_too_small" : drives;
    }
  }
}

/** Damage a secret, and make its checksum right again where that is the point. */
export const reseal = (token: string, change: (body: string) => string): string => {
  const body = change(token.slice(0, -6));
  return body + checksum(body);
};
export const flip = (text: string): string => text.slice(0, -1) + (text.endsWith("a") ? "b" : "a");

export function callersOf({ auths, daemon, foreignSessionId, hostMintedSessionId, tokenMintedSessionId, driverSeatId }: World): Caller[] {
  const { owner, driver, control, controlViewer, view, viewViewer, foreign, foreignDriver, expired, expiredChild, revoked, revokedChild } = auths;
  const token = driver.token ?? "";
  const secret = driver.seat_secret ?? "";
  const unknownSession = `ses_${"u".repeat(22)}`;
  const malformed: [string, unknown][] = [
    ["an empty token", ""],
    ["a token with a wrong checksum", flip(token)],
    ["a token cut short", token.slice(0, -1)],
    ["a token with a tail", `${token}a`],
    ["a token with a line end", `${token}\n`],
    ["a token with its right swapped", token.replace("ssd_c_", "ssd_v_")],
    ["a token with its right swapped and sealed anew", reseal(token, (body) => body.replace("ssd_c_", "ssd_v_"))],
    ["a view token made control and sealed anew", reseal(view.token ?? "", (body) => body.replace("ssd_v_", "ssd_c_"))],
    ["a token with another secret, well sealed", reseal(token, flip)],
    ["a foreign token renamed to this session, well sealed", reseal(foreign.token ?? "", (body) => body.replace(foreignSessionId, token.slice(6, 32)))],
    ["a huge token", "s".repeat(100_000)],
    ["a token that is a number", 7],
    ["a token that is null", null],
    ["a token in a list", [token]],
    ["a token in an object", { toString: token }],
    ["the host key as token", daemon.hostKey],
  ];
  const badKeys: [string, unknown][] = [
    ["an empty host key", ""],
    ["a host key with a wrong checksum", flip(daemon.hostKey)],
    ["another host key, well sealed", reseal(daemon.hostKey, flip)],
    ["a host key in a list", [daemon.hostKey]],
    ["a huge host key", "s".repeat(100_000)],
    ["the driver's token as host key", token],
    ["a host key that is null", null],
  ];
  const all = { right: "control", seat: "driver", lineage: true } as const;
  return [
    { name: "nobody", auth: undefined },
    ...[null, 7, "text", [], [token], {}, { auth: driver }].map((auth) => ({ name: `auth ${JSON.stringify(auth).slice(0, 20)}`, auth })),
    { name: "host key only", auth: owner, host: "good" },
    ...badKeys.map(([name, host_key]) => ({ name, auth: { host_key }, host: "bad" }) as const),
    ...badKeys.map(([name, host_key]) => ({ name: `the driver with ${name}`, auth: { ...driver, host_key }, ...all, host: "bad" }) as const),
    { name: "the driver with the host key too", auth: { ...driver, ...owner }, ...all, host: "good" },
    { name: "another session's token", auth: foreign },
    { name: "another session's driver", auth: foreignDriver },
    { name: "another session's token with this driver's secret", auth: { ...foreign, seat_secret: secret } },
    { name: "view token", auth: view, right: "view", lineage: true },
    { name: "view token with the driver's seat id", auth: { ...view, seat_id: driverSeatId, seat_secret: driverSeatId }, right: "view", lineage: true },
    { name: "view token with the driver's secret", auth: { ...view, seat_secret: secret }, right: "view", lineage: true },
    { name: "viewer seat with a view token", auth: viewViewer, right: "view", seat: "viewer", lineage: true },
    { name: "another control token with the driver's secret", auth: { ...control, seat_secret: secret }, right: "control" },
    { name: "another control token with the driver's seat id", auth: { ...control, seat_secret: driverSeatId, seat_id: driverSeatId }, right: "control" },
    { name: "viewer seat with a control token", auth: controlViewer, right: "control", seat: "viewer" },
    { name: "control token without a seat", auth: control, right: "control" },
    { name: "control token with an unknown secret", auth: { ...control, seat_secret: seatSecretOf("X") }, right: "control" },
    { name: "control token with a secret that is no text", auth: { ...control, seat_secret: [seatSecretOf("C")] }, right: "control" },
    { name: "the driver's token without its secret", auth: { token }, right: "control", lineage: true },
    { name: "expired", auth: { ...expired, seat_secret: secret } },
    { name: "child of an expired one", auth: expiredChild },
    { name: "revoked", auth: { ...revoked, seat_secret: secret } },
    { name: "child of a revoked one", auth: revokedChild },
    ...malformed.map(([name, value]) => ({ name, auth: { token: value, seat_secret: secret } })),
    { name: "the driver", auth: driver, ...all },
    {
      name: "a driver whose token the host key minted",
      auth: auths.hostMintedDriver,
      right: "control",
      seat: "driver",
      input: { session_id: hostMintedSessionId },
    },
    {
      name: "a driver whose token a token minted",
      auth: auths.tokenMintedDriver,
      right: "control",
      seat: "driver",
      hostMinted: false,
      input: { session_id: tokenMintedSessionId },
    },
    { name: "the driver, naming another session", auth: driver, input: { session_id: foreignSessionId } },
    { name: "the driver, naming an unknown session", auth: driver, input: { session_id: unknownSession } },
    {
      name: "a well sealed token of an unknown session",
      auth: { token: reseal(token, (body) => body.replace(token.slice(6, 32), unknownSession)) },
      input: { session_id: unknownSession },
    },
    { name: "the driver, naming no session", auth: driver, input: { session_id: undefined } },
    { name: "the driver, naming a session in a list", auth: driver, input: { session_id: [token.slice(6, 32)] } },
  ];
}
