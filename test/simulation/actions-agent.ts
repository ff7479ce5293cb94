import type { Action } from "./actions.ts";
import { driverOf } from "./actions-seats.ts";
import { living } from "./calls.ts";
import type { Command } from "./sim-agent.ts";
import type { World } from "./world.ts";

/** What agents do, in the turns that run. */
/** What leads to an agent that waits to be told what to do. */
function toAnIdleAgent(world: World): string {
  const sessions = living(world).filter((each) => driverOf(each) !== undefined);
  if (sessions.some(({ model }) => model.turn === null && model.queue.length < 3)) return "prompt_queue";
  if (sessions.some(({ model }) => model.approvals.size > 0)) return "approve";
  return living(world).some(({ model }) => model.turn !== null) ? "interrupt" : "attach_driver";
}

const agentDoes = (command: Command, weight: number): Action => ({
  name: `agent_${command}`,
  weight,
  act(world) {
    const turn = world.pick(world.turns.filter(({ idle }) => idle));
    if (turn === undefined || !turn.tell(command)) return false;
    world.hit(`agent_${command}`);
    if (command === "throw" || command === "hang") world.faults.hit(`agent_${command}s`);
    return true;
  },
  otherwise: toAnIdleAgent,
});

export const agentActions: Action[] = [
  agentDoes("say", 5),
  agentDoes("think", 4),
  agentDoes("tool", 3.5),
  agentDoes("tools", 0.4),
  agentDoes("steer", 4.2),
  agentDoes("end", 4),
  agentDoes("fail", 4.2),
  agentDoes("throw", 4.2),
  agentDoes("hang", 4.2),
  agentDoes("babble", 5),
];
