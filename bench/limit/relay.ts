import type { initTRPC } from "@trpc/server";

/** A model's stream to every subscriber: one message a turn of the event loop, with all that came in it. */
export const relayRouter = (trpc: ReturnType<typeof initTRPC.create>) => trpc.router({});
