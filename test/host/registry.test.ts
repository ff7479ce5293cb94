import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { SessionId } from "@sessiond/shared";
import type { RegistryEntry } from "../../packages/daemon/src/host/registry-file.ts";
import { Registry } from "../../packages/daemon/src/host/registry.ts";
import { registryFile } from "../../packages/daemon/src/host/registry-file.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** The registry's file and what is known of it in memory: never one without the other. */
let root: string;
let path: string;
let disk: TrappedDisk;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "sessiond-registry-"));
  path = join(root, "registry.json");
  disk = new TrappedDisk();
});
afterEach(() => rm(root, { recursive: true, force: true }));

const noFolders = () => Promise.resolve([]);
const openIt = (): Promise<Registry> => Registry.open(disk, path, noFolders, () => Promise.resolve());
const idOf = (number: number): SessionId => `ses_${String(number).padStart(22, "0")}` as SessionId;
const entryOf = (number: number, more: Partial<RegistryEntry> = {}): RegistryEntry => ({
  id: idOf(number),
  workdir: `/w/${number}`,
  stable: true,
  life: 1,
  stopped: false,
  created_at: 1,
  ...more,
});
const stored = async (): Promise<readonly RegistryEntry[]> => registryFile.parse(JSON.parse(await readFile(path, "utf8"))).sessions;

test("B36 whatever became of its entries, the file says what the registry knows, and so does the next start", async () => {
  const registry = await openIt();
  for (const number of [1, 2, 3, 4]) await registry.add(entryOf(number));
  await registry.change(idOf(2), { stopped: true, life: 2 });
  await registry.withdraw(idOf(3));
  await registry.drop(idOf(1));
  await Promise.all([registry.add(entryOf(5)), registry.change(idOf(4), { life: 7 }), registry.add(entryOf(6))]);
  const expected = [entryOf(2, { stopped: true, life: 2 }), entryOf(4, { life: 7 }), entryOf(5), entryOf(6)];
  expect(await stored()).toEqual(expected);
  expect(registry.all()).toEqual(expected.toReversed());
  expect((await openIt()).all()).toEqual(expected.toReversed());
});

test("B38 a write that fails has changed nothing that is known, and the next one has nothing of it", async () => {
  const registry = await openIt();
  await registry.add(entryOf(1));
  disk.fail("replace", "registry.json", { code: "ENOSPC", times: 2 }).catch(() => undefined);
  await expect(registry.change(idOf(1), { stopped: true })).rejects.toMatchObject({ code: "storage_failed" });
  await expect(registry.add(entryOf(2))).rejects.toMatchObject({ code: "storage_failed" });
  expect([registry.all(), registry.get(idOf(1)), registry.get(idOf(2)), registry.stableOf("/w/2")]).toEqual([[entryOf(1)], entryOf(1), undefined, undefined]);
  await registry.add(entryOf(3));
  expect(await stored()).toEqual([entryOf(1), entryOf(3)]);
});

test("B12 an entry of another form is refused and not written, also beside those that were checked before; and none can be changed but through the registry", async () => {
  const registry = await openIt();
  await registry.add(entryOf(1));
  await expect(registry.add(entryOf(2, { life: -1 }))).rejects.toThrow(/life|Invalid/);
  await expect(registry.change(idOf(1), { life: 0.5 })).rejects.toThrow(/life|Invalid/);
  const known = registry.get(idOf(1)) as { stopped: boolean };
  expect(() => (known.stopped = true)).toThrow(TypeError);
  expect([await stored(), registry.all()]).toEqual([[entryOf(1)], [entryOf(1)]]);
});
