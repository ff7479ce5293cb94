import type { Command } from "commander";
import { Failure } from "../exit-codes.ts";
import { addReachOptions, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { handleOf, reach, type ReachFlags } from "../reach.ts";
import { foreignLine } from "../screen.ts";
import { existingSession, shortId } from "../which-session.ts";
import { askerNamed, driverOf, Wheel } from "../wheel.ts";

interface YieldOptions extends ReachFlags {
  readonly workdir?: string;
  readonly to?: string;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .option("--to <who>", "the seat that shall have it: its label or id; it must have asked")
      .addHelpText(
        "after",
        "\nFrees the wheel from another terminal: takes it by force from whoever drives, and gives it at once to the first seat that asks for it, or to nobody. The old driver stays as viewer. In a terminal that drives, /yield does it without force.",
      ),
    "sessiond yield",
    "sessiond yield --to bo",
  ).action((name: string | undefined, options: YieldOptions) => yieldWheel(name, options));
  addReachOptions(command);
}

async function yieldWheel(name: string | undefined, { workdir, to, ...where }: YieldOptions): Promise<void> {
  const host = await reach("yield", where);
  const listing = await existingSession(host, { session: name, workdir });
  const facts = await (await handleOf(host, listing.session_id, "view")).info();
  const [holder, asker] = [driverOf(facts), to === undefined ? facts.driver_requests[0] : askerNamed(facts, to)];
  if (holder === undefined) throw new Failure("usage", `Nobody drives ${shortId(listing.session_id)}. \`sessiond take\` takes the wheel.`);
  const session = await host.openSession(listing.session_id);
  const wheel = new Wheel(await session.attach({ as: "viewer" }), null);
  await wheel.take("force");
  const has = await wheel.yield(asker?.seat_id);
  await wheel.seat.detach();
  process.stdout.write(`taken from ${foreignLine(holder.label)}, ${has === null ? "nobody drives now" : `given to ${foreignLine(has)}`}\n`);
}
