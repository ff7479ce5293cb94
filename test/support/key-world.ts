import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { schemas, SessiondError, type Auth, type KeyRecord, type Scope } from "@sessiond/shared";
import type { TestDaemon } from "../../packages/daemon/src/testing.ts";
import { at, hostAuth, makeWorkdir } from "./gate-world.ts";

/** API keys for tests: made by the host key or by another key, in a word or two. */
export const everyScope: readonly Scope[] = schemas.scope.options;

export interface MadeKey {
  readonly id: string;
  /** The whole key, as its holder has it. */
  readonly key: string;
  readonly auth: Auth;
  readonly record: KeyRecord;
}

export interface KeyWishes {
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  /** The daemon's own root, in which the test's directories lie, unless told otherwise. */
  readonly roots?: readonly string[];
  readonly ttl_ms?: number;
  /** The host key unless told otherwise. */
  readonly by?: Auth;
}

export async function makeKey(
  daemon: TestDaemon,
  { name = "a program", scopes = everyScope, roots = [daemon.root], ttl_ms, by }: KeyWishes = {},
): Promise<MadeKey> {
  const input = { name, scopes: [...scopes], roots: [...roots], ...(ttl_ms !== undefined && { ttl_ms }) };
  const { key, record } = await daemon.call("create_key", input, by ?? hostAuth(daemon));
  return { id: record.key_id, key, auth: { api_key: key }, record };
}

export const revokeKey = (daemon: TestDaemon, { id }: MadeKey, by: Auth = hostAuth(daemon)) => daemon.call("revoke_key", { key_id: id }, by);

/** @returns the same key with its new secret */
export async function rotateKey(daemon: TestDaemon, made: MadeKey, overlap_ms?: number, by: Auth = hostAuth(daemon)): Promise<MadeKey> {
  const { key, record } = await daemon.call("rotate_key", { key_id: made.id, ...(overlap_ms !== undefined && { overlap_ms }) }, by);
  return { ...made, key, auth: { api_key: key }, record };
}

/** What becomes of a call: `ok`, or the code of the error. */
export const outcomeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: Error & { code?: string }) => (error.cause instanceof SessiondError ? error.cause.code : (error.code ?? String(error))),
  );

/** Whether a key opens anything at all. */
export const opens = (daemon: TestDaemon, auth: Auth): Promise<string> => outcomeOf(daemon.call("list_keys", {}, auth));

/** A directory that no test's session lives in. */
export async function elsewhere(daemon: TestDaemon, name = "elsewhere"): Promise<string> {
  const path = await makeWorkdir(daemon, name);
  await mkdir(path, { recursive: true });
  return path;
}

/** As it lies on the disk. */
export const keysOnDisk = (daemon: { root: string }): { keys: (KeyRecord & { hash: string; hash_before?: string })[] } =>
  JSON.parse(readFileSync(at(daemon, "keys.json"), "utf8")) as ReturnType<typeof keysOnDisk>;
