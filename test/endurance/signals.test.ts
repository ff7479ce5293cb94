import { getEventListeners } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { joinedSignal } from "../../packages/daemon/src/joined-signal.ts";

/** Signals that live long, of a connection or an agent, are listened to by what lives short; nothing of that may stay. */
const packages = resolve(import.meta.dirname, "../../packages");
const sources = (): string[] =>
  readdirSync(packages)
    .map((name) => join(packages, name, "src"))
    .flatMap((directory) => readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => join(directory, name)))
    .filter((path) => path.endsWith(".ts"));

test("B33 a signal joined of several aborts with the first, for its reason, and nothing is left with the others when it is let go of", () => {
  const [long, short] = [new AbortController(), new AbortController()];
  const { signal, release } = joinedSignal(long.signal, short.signal);
  const reason = new Error("first");
  short.abort(reason);
  long.abort(new Error("second"));
  expect(signal.reason).toBe(reason);
  release();
  const living = new AbortController();
  for (let n = 0; n < 10; n++) joinedSignal(living.signal, new AbortController().signal).release();
  expect(getEventListeners(living.signal, "abort")).toEqual([]);
  // One that has aborted before counts at once.
  expect(joinedSignal(living.signal, short.signal).signal.reason).toBe(reason);
});

test("B33 nobody joins signals by AbortSignal.any: on Node 20 each call leaves an entry with every signal given, for as long as that one lives", () => {
  const found = sources().filter((path) => /AbortSignal\.any\(/.test(readFileSync(path, "utf8")));
  expect(found).toEqual([]);
});
