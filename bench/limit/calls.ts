import type { initTRPC } from "@trpc/server";
import { z } from "zod";
import { bareFrames, remembered } from "./bare-frames.ts";

/**
 * Single calls, with zod in and out: the real rows' own schemas, and as replies what the real daemon gave, so that both
 * sides take in, check and say the same. It is told the replies first.
 */
type Rows = typeof import("@sessiond/shared").verbs;
type Verb = z.infer<typeof remembered>["verb"];

export const callsRouter = (trpc: ReturnType<typeof initTRPC.create>, socket: string) => {
  // Loaded with the first reply: other benches weigh this process, and a bare daemon would not have the table.
  let rows: Rows | null = null;
  const replies = new Map<Verb, unknown>();
  const credential = z.object({ auth: z.object({ token: z.string() }) });
  const told = (): Rows => {
    if (rows === null) throw new Error("no reply was told");
    return rows;
  };
  const takes = (verb: Verb) => (raw: unknown) => {
    const { auth, ...input } = raw as Record<string, unknown>;
    return { ...credential.parse({ auth }), ...told()[verb].input.parse(input) };
  };
  const gives =
    (verb: Verb) =>
    (reply: unknown): unknown =>
      told()[verb].output.parse(reply);
  return trpc.router({
    ping: trpc.procedure
      .input(z.object({ text: z.string() }))
      .output(z.object({ text: z.string() }))
      .query(({ input }) => input),
    /** @returns the socket of the bare frames; nobody listens there before */
    bare_frames: trpc.procedure.output(z.string()).mutation(() => bareFrames(`${socket}-bare`)),
    remember: trpc.procedure.input(remembered).mutation(async ({ input }) => {
      rows ??= (await import("@sessiond/shared")).verbs;
      replies.set(input.verb, input.reply);
    }),
    authorize: trpc.procedure
      .input(takes("authorize"))
      .output(gives("authorize"))
      .query(() => replies.get("authorize")),
    session_info: trpc.procedure
      .input(takes("session_info"))
      .output(gives("session_info"))
      .query(() => replies.get("session_info")),
  });
};
