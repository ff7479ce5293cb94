import { seededChance } from "../support/chance.ts";
import { present } from "./calls.ts";
import { observe } from "./observe.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/**
 * The end of every sequence: the disk is mended, clients let go, time passes. Then nothing may hang:
 * every call has its answer, every session can write, and after one more start all that was promised is there.
 */
export async function heal(world: World): Promise<void> {
  world.chance = seededChance(4_711);
  world.faults.heal();
  for (const session of present(world)) for (const seat of session.seats.values()) seat.goOn();
  for (let times = 0; times < 8; times++) await world.advance(7_000);
  await world.settle();
  observe(world);
  holds(world.calls.size === 0, "B18", () => `${[...world.calls].map(({ verb }) => verb).join(", ")} never got an answer`);
  for (const session of present(world)) {
    const live = world.boot.host.inMemory(session.id);
    holds(live?.log.room.fault === undefined, "B38", () => `${session.id} is still faulted: ${live?.log.room.fault?.reason ?? ""}`);
    if (live !== undefined) holds(session.view.last === session.model.seq, "B24", () => `${session.view.last} is written and ${session.model.seq} shown`);
    for (const prompt of session.prompts.values()) mustBeAccounted(session, prompt);
  }
  world.crash(false);
  await world.pump(1);
  await world.settle();
  for (const session of present(world)) {
    holds(world.boot.host.entry(session.id) !== undefined || session.model.turns === 0, "B11", () => `${session.id} is gone`);
  }
  observe(world);
}

/** A prompt that was acknowledged has ended once, or waits still. */
function mustBeAccounted({ model, gone }: { model: World["sessions"][number]["model"]; gone: boolean }, { id, answer }: { id: string; answer: unknown }): void {
  if (answer === undefined || gone || model.seq === 0) return;
  holds(model.prompts.has(id), "B19", () => `${id} was accepted, and no frame says so`);
  const waits = model.queue.some((prompt) => prompt.id === id);
  holds(waits === (model.prompts.get(id) === null), "B19", () => `${id} waits, and has ended`);
}
