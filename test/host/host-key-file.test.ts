import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { realDisk } from "../../packages/daemon/src/disk.ts";
import { HostKey } from "../../packages/daemon/src/keys.ts";
import { spoiled } from "../support/spoiled.ts";

/** A rotation of the host key, stopped between the moment at which the new key can be read and the one at which it is synced. */
let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "ssd-hk-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test.each([true, false])(
  "B4 a new host key counts from the moment it can be read in its file, and the one before until the reply; synced: %s",
  async (synced) => {
    const path = join(folder, "host-key");
    const read = (): string => readFileSync(path, "utf8").trim();
    const real = realDisk();
    let [inPlace, goOn] = [(): void => undefined, (): void => undefined];
    const placed = new Promise<void>((resolve) => (inPlace = resolve));
    const released = new Promise<void>((resolve) => (goOn = resolve));
    const slow = {
      ...real,
      async replace(...given: Parameters<typeof real.replace>): Promise<void> {
        await real.replace(...given);
        inPlace();
        await released;
        if (!synced) throw Object.assign(new Error("EIO: made to fail"), { code: "EIO" });
      },
    };
    await HostKey.load(real, path);
    const key = await HostKey.load(slow, path);
    const before = read();
    const rotating = key.rotate().then(
      () => true,
      () => false,
    );
    await placed;
    const after = read();
    expect(after).not.toBe(before);
    expect([before, after, spoiled(after)].map((each) => key.verify(each) !== null)).toEqual([true, true, false]);
    const held = [before, after].map((each) => key.verify(each));
    goOn();
    expect(await rotating).toBe(synced);
    // Also where the sync failed: what lies there is what can be read.
    expect([before, after].map((each) => key.verify(each) !== null)).toEqual([false, true]);
    // Whoever holds on to the one that ended is told so, and why.
    expect(held.map((each) => [each?.ends.aborted, each?.stands()])).toEqual([
      [true, false],
      [false, true],
    ]);
    expect(held[0]?.ends.reason).toMatchObject({ code: "token_ended", detail: { cause: "revoked" } });
  },
);
