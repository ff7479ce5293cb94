import { afterEach, beforeEach, expect, test } from "vitest";
import type { Session, ViewerSeat } from "@sessiond/client";
import { amount } from "../support/amount.ts";
import { endure, expectTidy, fillWindows, growthLine } from "../support/growth.ts";
import { MeasuredHome } from "../support/measured-home.ts";
import { RawReader } from "../support/raw-reader.ts";

/** Clients come and go, by the library and over the real socket; what a visit took is given back, on both sides. */
const visits = amount(200, 10_000, "SESSIOND_VISITS");
const lanes = 4;

let home: MeasuredHome;
beforeEach(() => {
  home = new MeasuredHome();
});
afterEach(() => home.close());

/** Of eight visits two drive, four look, one loses its link, and one is a driver that loses it and is thrown out by the next. */
async function visit(session: Session, n: number): Promise<void> {
  const kind = n % 8;
  if (kind === 7) return dropped(session, n);
  const seat = kind < 3 ? await session.attach({ as: "driver", force: true }) : await session.attach({ as: "viewer" });
  expect(seat.role).toBe(kind < 3 ? "driver" : "viewer");
  if (kind === 2) cut(seat);
  else await seat.detach();
}

/** Its connection closes, and nobody says goodbye: the library's own `detach` would. */
const cut = (seat: ViewerSeat): void => (seat as unknown as { parts: { stream: { close(): void } } }).parts.stream.close();

async function dropped({ id, token }: Session, n: number): Promise<void> {
  const reader = new RawReader({ socketPath: home.socket, sessionId: id, token, label: `dropped-${n}` });
  await reader.until(({ types }) => types.length > 0);
  reader.end();
  await reader.until(({ close }) => close !== null);
}

test(
  `B15 B17 B33 ${visits} visits, some cut off, leave nothing behind: no object, no timer, no descriptor, in the daemon or in the client`,
  { timeout: 900_000 },
  async () => {
    const host = await home.begin();
    const sessions = await Promise.all(Array.from({ length: lanes }, (_, lane) => host.sessionForWorkdir(home.directory(lane))));
    const holders: ViewerSeat[] = [];
    const work = async (from: number, to: number): Promise<void> => {
      await Promise.all(
        sessions.map(async (session, lane) => {
          for (let n = from + lane; n < to; n += lanes) await visit(session, Math.floor(n / lanes));
        }),
      );
      for (const holder of holders) while (holder.state.seats.length > 1) await holder.changed();
    };
    await work(0, lanes * 8);
    const atRest = await home.openAtRest(host);
    holders.push(...(await fillWindows(host, sessions)));
    const begun = performance.now();
    const endured = await endure(home, { operations: visits, work });
    const seconds = (performance.now() - begun) / 1_000;
    await Promise.all(holders.map((holder) => holder.detach()));
    expect(await home.openAtRest(host)).toEqual(atRest);
    expectTidy(home);
    console.log(
      `B15 B33 endurance: ${endured.operations} visits in ${seconds.toFixed(1)} s; ${growthLine(endured)}; ${atRest.length} descriptors at rest before and after`,
    );
  },
);
