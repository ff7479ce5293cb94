/**
 * What has happened in this daemon since its start: numbers only, each raised where the thing
 * happens. Counting is always on; what it costs is an addition. Tests and benches compare these
 * exactly, and `/metrics` shows them.
 */
export class Counters {
  /** Frames made into text: once each, however many read them. */
  framesEncoded = 0;
  /** Frames made out of a journal's text: at opening, and for pages of `session_data`. */
  framesDecoded = 0;
  framesShown = 0;
  /** A batch, and its frames, once for each reader that it went to. */
  batchesSent = 0;
  framesSent = 0;
  journalReadBytes = 0;
  journalWrittenBytes = 0;
  journalWrites = 0;
  journalSyncs = 0;
  /** Files replaced whole, each with its own syncs: registry, session files, marks. */
  filesReplaced = 0;
  /** Connections closed because their peer took nothing. */
  slowConsumers = 0;
  modelInputTokens = 0;
  modelOutputTokens = 0;
  /** By verb, then by `ok` or the code of the error. */
  readonly calls = new Map<string, Map<string, number>>();
  /** Streams that an error ended after their first item, by its code. */
  readonly streamEnds = new Map<string, number>();
  readonly turnEnds = new Map<string, number>();
  /** Calls refused because there were too many, by the limit's name. */
  readonly throttled = new Map<string, number>();
  /** Requests and upgrades turned away before any credential was looked at, by reason. */
  readonly turnedAway = new Map<string, number>();

  called(verb: string, outcome: string): void {
    let outcomes = this.calls.get(verb);
    if (outcomes === undefined) this.calls.set(verb, (outcomes = new Map<string, number>()));
    raise(outcomes, outcome);
  }

  streamEnded(code: string): void {
    raise(this.streamEnds, code);
  }

  batchSent(frames: number): void {
    this.batchesSent += 1;
    this.framesSent += frames;
  }

  turnEnded(stopReason: string, usage?: { readonly input_tokens: number; readonly output_tokens: number }): void {
    raise(this.turnEnds, stopReason);
    this.modelInputTokens += usage?.input_tokens ?? 0;
    this.modelOutputTokens += usage?.output_tokens ?? 0;
  }

  throttle(limit: string): void {
    raise(this.throttled, limit);
  }

  turnAway(reason: TurnedAway): void {
    raise(this.turnedAway, reason);
  }
}

export type TurnedAway = "origin" | "host" | "fetch_site" | "connections_max" | "tcp_connections_max" | "connections_per_peer_max" | "rate_limited";

const raise = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
