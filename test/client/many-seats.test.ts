import { afterEach, expect, test } from "vitest";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs } from "../support/session-rig.ts";

afterEach(endRigs);

test("B24 many seats taken at once by one handle are taken, and Node has nothing to warn of", async () => {
  const warnings: Error[] = [];
  const warned = (warning: Error): void => void warnings.push(warning);
  process.on("warning", warned);
  const rig = await ClientRig.start();
  try {
    const session = await rig.session();
    const seats = await Promise.all(Array.from({ length: 24 }, () => session.attach({ as: "viewer" })));
    expect(new Set(seats.map(({ seatId }) => seatId)).size).toBe(24);
    // Warnings are told in a later turn.
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
  } finally {
    await rig.close();
    process.off("warning", warned);
  }
});
