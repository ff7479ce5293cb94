import type { initTRPC } from "@trpc/server";
import { z } from "zod";

/** Single calls, with zod in and out as the real verbs have it. */
export const callsRouter = (trpc: ReturnType<typeof initTRPC.create>) =>
  trpc.router({
    ping: trpc.procedure
      .input(z.object({ text: z.string() }))
      .output(z.object({ text: z.string() }))
      .query(({ input }) => input),
  });
