import { open } from "node:fs/promises";
import type { initTRPC } from "@trpc/server";
import { z } from "zod";
// The table alone: all of the shared package would bring its schemas.
import { limits } from "../../packages/shared/src/limits.ts";

/**
 * What a bare daemon answers to a command line: who it is, which sessions it has, and that a prompt is on disk. The
 * answers are as long as the real ones; there is nobody to be checked, no seat, and no session behind them.
 */
const session = z.object({ session_id: z.string(), workdir: z.string(), life_state: z.string(), status: z.string() });
const sessions = ["one", "two", "three"].map((name) => ({
  session_id: `ses_${name.padEnd(22, "0")}`,
  workdir: `/w/${name}`,
  life_state: "live",
  status: "idle",
}));

/** @param file  where prompts go; made when the first one comes */
export const commandsRouter = (trpc: ReturnType<typeof initTRPC.create>, file: string) =>
  trpc.router({
    hello: trpc.procedure
      .input(z.object({ protocol: z.object({ min: z.number(), max: z.number() }) }))
      .output(z.object({ version: z.string(), boot_id: z.string(), limits: z.record(z.string(), z.number()) }))
      .query(() => ({ version: "0.0.0", boot_id: "bare", limits: { ...limits } })),
    list: trpc.procedure.output(z.object({ sessions: z.array(session) })).query(() => ({ sessions })),
    prompt: trpc.procedure
      .input(z.object({ text: z.string() }))
      .output(z.object({ seq: z.number() }))
      .mutation(async ({ input }) => {
        const prompts = await open(file, "a", 0o600);
        try {
          await prompts.write(`${JSON.stringify({ seq: 1, at: Date.now(), text: input.text })}\n`);
          await prompts.datasync();
        } finally {
          await prompts.close();
        }
        return { seq: 1 };
      }),
  });

export type CommandsRouter = ReturnType<typeof commandsRouter>;
