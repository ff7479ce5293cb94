import { sessionFromToken, type SeatEvent, type ViewerSeat } from "@sessiond/client/node";
import { stockClient } from "./limit/stock-client.ts";
import { serveSide } from "./side-process.ts";
import { Tally } from "./tally.ts";
import { ViewSeats } from "./view-seats.ts";

/**
 * All viewers of one side in one process, as a person's terminals would be several. Each has a connection of its own on
 * either side. The first of them also says the prompt, as the driver of a session does, so that there is no reader
 * beside those that are counted. sessiond's read by `seat.events` of the library, which folds each event into the
 * seat's state on the way; the limit's take what the stock client calls back with.
 */
export type Question =
  | ({ readonly open: "sessiond"; readonly token: string; readonly env: Record<string, string> } & Round)
  | ({ readonly open: "limit"; readonly socket: string } & Round)
  | { readonly prompt: string }
  | { readonly close: true };

export interface Round {
  readonly viewers: number;
  readonly chunks: number;
  /** @see Tally */
  readonly stamped: boolean;
}

/** The answer to a prompt: all viewers have had all of it. */
export interface Outcome {
  /** From before the prompt was sent to the last chunk at the last viewer. */
  readonly ms: number;
  /** Of stamped chunks, in ms, of all viewers together. */
  readonly p50: number;
  readonly p99: number;
}

interface Open {
  readonly tallies: readonly Tally[];
  prompt(text: string): Promise<unknown>;
  close(): Promise<unknown>;
}

let open: Open | null = null;

async function answer(question: Question): Promise<Outcome | null> {
  if ("prompt" in question) return outcome(question.prompt);
  await open?.close();
  open = null;
  if ("open" in question) open = question.open === "limit" ? await ofLimit(question) : await ofSession(question);
  return null;
}

async function outcome(text: string): Promise<Outcome> {
  if (open === null) throw new Error("there are no viewers");
  const { tallies, prompt } = open;
  const since = process.hrtime.bigint();
  await prompt(text);
  await Promise.all(tallies.map(({ whole }) => whole));
  const last = tallies.reduce((latest, tally) => (tally.last > latest ? tally.last : latest), since);
  const latencies = tallies.flatMap((tally) => tally.latencies).toSorted((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? NaN;
  return { ms: Number(last - since) / 1e6, p50: at(0.5), p99: at(0.99) };
}

async function ofSession({ token, env, ...round }: Extract<Question, { open: "sessiond" }>): Promise<Open> {
  const session = await sessionFromToken(token, { env, autoStart: false });
  const driver = await session.attach({ as: "driver" });
  const views = new ViewSeats(session, env);
  const seats: ViewerSeat[] = [driver];
  while (seats.length < round.viewers) seats.push(await views.take());
  const tallies = seats.map(({ events }) => {
    const tally = new Tally(round.chunks, round.stamped);
    void read(events, tally);
    return tally;
  });
  return { tallies, prompt: (text) => driver.sendPrompt(text), close: () => views.close().then(() => session.close()) };
}

async function read(events: AsyncIterable<SeatEvent>, tally: Tally): Promise<void> {
  let begun = false;
  for await (const event of events) {
    if (event.type === "frame") tally.see(event.frame.event);
    else if (begun) tally.fail("lost events: its state was replaced");
    begun = true;
  }
}

async function ofLimit({ socket, viewers, chunks, stamped }: Extract<Question, { open: "limit" }>): Promise<Open> {
  const readers = await Promise.all(
    Array.from({ length: viewers }, async () => {
      const { trpc, close } = stockClient(socket);
      const tally = new Tally(chunks, stamped);
      await new Promise<void>((resolve) =>
        trpc.relay.events.subscribe(undefined, {
          onStarted: () => resolve(),
          onData: (batch) => {
            for (const { event } of batch) tally.see(event);
          },
          onError: (error) => tally.fail(error.message),
        }),
      );
      return { tally, close, prompt: (text: string) => trpc.relay.prompt.mutate({ text }) };
    }),
  );
  return {
    tallies: readers.map(({ tally }) => tally),
    prompt: async (text) => readers[0]?.prompt(text),
    close: () => Promise.all(readers.map(({ close }) => close())),
  };
}

serveSide({}, answer);
