import { expect, test } from "vitest";
import { afterAwake } from "../../packages/daemon/src/clock.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** A process that can stand still: time goes by, and the timers that fell due meanwhile come late, and at once. */
class StandingClock extends FakeClock {
  #stood = 0;

  override steady(): number {
    return super.steady() + this.#stood;
  }

  stand(ms: number, due: number): void {
    this.#stood += ms - due;
    this.advance(due);
  }
}

function waiting(ms: number): { clock: StandingClock; cancel: () => void; ended: () => boolean } {
  const clock = new StandingClock();
  let over = false;
  const cancel = afterAwake(clock, ms, () => (over = true));
  return { clock, cancel, ended: () => over };
}

test("B15 B34 the patience with a peer ends at its time, to the millisecond", () => {
  for (const ms of [15_000, 1, 333]) {
    const { clock, ended } = waiting(ms);
    clock.advance(ms - 0.5);
    expect(ended()).toBe(false);
    clock.advance(0.5);
    expect(ended()).toBe(true);
  }
});

test("B15 B34 while the process stands still no patience is lost, but for a part of it", () => {
  for (const before of [0, 400, 3_900]) {
    const { clock, ended } = waiting(4_000);
    clock.advance(before);
    clock.stand(3_600_000, 1_000 - (before % 1_000));
    expect(ended()).toBe(false);
    const left = 4_000 - Math.floor(before / 1_000) * 1_000;
    clock.advance(left - 1);
    expect(ended()).toBe(false);
    clock.advance(1);
    expect(ended()).toBe(true);
  }
});

test("B15 B34 a wait that is given up ends nothing, before and after the process stood still", () => {
  const { clock, cancel, ended } = waiting(4_000);
  clock.stand(60_000, 1_000);
  cancel();
  clock.advance(60_000);
  expect(ended()).toBe(false);
});
