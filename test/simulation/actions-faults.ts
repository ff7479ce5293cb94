import type { Action } from "./actions.ts";
import type { DiskFault } from "./faults.ts";
import type { OperationKind } from "./scheduler.ts";
import { present } from "./calls.ts";

/** Time, restarts, and what goes wrong. */
const names: readonly OperationKind[] = ["replace"];

/** By name: which operation is caught, and what becomes of it. */
const traps: Readonly<Record<string, readonly [readonly OperationKind[], DiskFault]>> = {
  kill_before_write: [["write"], { type: "crash", power: false, moment: "before" }],
  kill_during_write: [["write"], { type: "crash", power: false, moment: "during" }],
  kill_after_write: [["write"], { type: "crash", power: false, moment: "after" }],
  kill_at_sync: [["sync"], { type: "crash", power: false, moment: "before" }],
  kill_during_replace: [names, { type: "crash", power: false, moment: "during" }],
  kill_after_replace: [names, { type: "crash", power: false, moment: "after" }],
  kill_at_rename: [["rename", "remove", "truncate", "directory", "directory_sync"], { type: "crash", power: false, moment: "after" }],
  power_before_write: [["write"], { type: "crash", power: true, moment: "before" }],
  power_during_write: [["write"], { type: "crash", power: true, moment: "during" }],
  power_after_write: [["write"], { type: "crash", power: true, moment: "after" }],
  power_before_sync: [["sync"], { type: "crash", power: true, moment: "before" }],
  power_after_sync: [["sync"], { type: "crash", power: true, moment: "after" }],
  power_during_replace: [names, { type: "crash", power: true, moment: "during" }],
  power_after_replace: [names, { type: "crash", power: true, moment: "after" }],
  power_at_rename: [["rename", "remove", "truncate", "directory", "directory_sync"], { type: "crash", power: true, moment: "before" }],
  write_eio: [["write"], { type: "fail", code: "EIO", effect: "none" }],
  write_short: [["write"], { type: "fail", code: "EIO", effect: "part" }],
  write_enospc: [["write"], { type: "fail", code: "ENOSPC", effect: "part" }],
  write_done_and_failed: [["write"], { type: "fail", code: "EIO", effect: "all" }],
  sync_eio: [["sync"], { type: "fail", code: "EIO", effect: "none" }],
  replace_eio: [names, { type: "fail", code: "EIO", effect: "none" }],
  replace_eio_late: [names, { type: "fail", code: "EIO", effect: "part" }],
  replace_enospc: [names, { type: "fail", code: "ENOSPC", effect: "none" }],
  read_eio: [["read"], { type: "fail", code: "EIO", effect: "none" }],
  open_eio: [["open"], { type: "fail", code: "EIO", effect: "none" }],
  name_eio: [["rename", "remove", "truncate", "directory", "directory_sync"], { type: "fail", code: "EIO", effect: "none" }],
  slow_write: [["write", "sync"], { type: "slow", ticks: 60 }],
  slow_other: [["replace", "read", "open"], { type: "slow", ticks: 60 }],
};

const trapActions = Object.entries(traps).map(([name, [on, fault]]): Action => ({
  name,
  fault: true,
  weight: 0.44,
  act(world) {
    world.faults.set({ name, on, fault, skip: Math.floor(world.chance.upTo(on[0] === "write" || on[0] === "read" ? 6 : 3)) });
    return true;
  },
}));

export const faultActions: Action[] = [
  ...trapActions,
  {
    name: "kill",
    weight: 0.5,
    fault: true,
    async act(world) {
      world.faults.hit("kill");
      world.crash(false);
      await world.pump(1);
      return true;
    },
  },
  {
    name: "power_cut",
    weight: 0.4,
    fault: true,
    async act(world) {
      world.faults.hit("power_cut");
      world.crash(true);
      await world.pump(1);
      return true;
    },
  },
  {
    name: "disk_full",
    weight: 0.2,
    fault: true,
    act(world) {
      world.faults.full = true;
      return true;
    },
  },
  {
    name: "disk_mended",
    weight: 2,
    fault: true,
    act(world) {
      world.faults.heal();
      world.faults.hit("disk_mended");
      return true;
    },
  },
  {
    name: "clock_forward",
    weight: 0.55,
    fault: true,
    act(world) {
      world.time.jump(3_600_000);
      world.faults.hit("clock_forward");
      return true;
    },
  },
  {
    name: "clock_back",
    weight: 0.55,
    fault: true,
    act(world) {
      world.time.jump(-3_600_000);
      world.faults.hit("clock_back");
      return true;
    },
  },
  {
    name: "restart",
    weight: 1.5,
    async act(world) {
      await world.restart();
      world.hit("restart");
      return true;
    },
  },
  ...(
    [
      ["moment_passes", 600, 1.6],
      ["reopening_time_passes", 6_000, 1.8],
      ["grace_passes", 16_000, 1.6],
      ["minute_passes", 61_000, 2],
      ["hours_pass", 5 * 3_600_000, 1.7],
    ] as const
  ).map(([name, ms, weight]): Action => ({
    name,
    weight,
    async act(world) {
      // Nobody rests whom somebody watches.
      if (name === "hours_pass" && world.odds(0.7)) for (const session of present(world)) for (const seat of session.seats.values()) seat.drop();
      await world.advance(ms);
      world.hit(name);
      return true;
    },
  })),
];
