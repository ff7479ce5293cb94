import type { Counters } from "./counters.ts";
import type { Census } from "./host/census.ts";

/**
 * The table of metrics: name, kind, labels, help, and where the value comes from. A label's value is always a word of a table
 * (verb, error code, status, role, …), never a path, a title, an id or anything else that somebody
 * made up: figures are shown to whoever collects them.
 */
export interface Facts {
  readonly counters: Counters;
  readonly census: Census;
  readonly audit: { readonly written: number; readonly refusals_counted: number; readonly failed: number };
  readonly door: { readonly connections: number; readonly readBytes: number; readonly writtenBytes: number };
  readonly process: {
    readonly startedAt: number;
    readonly rssBytes: number;
    readonly heapUsedBytes: number;
    readonly cpuSeconds: number;
    readonly eventLoopActiveSeconds: number;
  };
}

type Labelled = readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];
export interface MetricRow {
  readonly kind: "counter" | "gauge";
  readonly help: string;
  readonly labels?: readonly string[];
  readonly value: (facts: Facts) => number | Labelled;
}

const by = (label: string, counts: Readonly<Record<string, number>> | ReadonlyMap<string, number>): Labelled =>
  [...(counts instanceof Map ? counts : Object.entries(counts))].map(([key, count]) => [{ [label]: key }, count]);

const callsOf = ({ calls }: Counters): { verb: string; code: string; count: number }[] =>
  [...calls].flatMap(([verb, outcomes]) => [...outcomes].map(([code, count]) => ({ verb, code, count })));

/** Outcomes that say that somebody tried what he may not, or more than he may. */
export const refusalCodes = ["unauthenticated", "role_too_small", "not_attached", "not_driver", "rate_limited"] as const;

const refusalsOf = (counters: Counters): Labelled =>
  refusalCodes.map((code) => [{ code }, callsOf(counters).reduce((sum, call) => sum + (call.code === code ? call.count : 0), 0)]);

export const metricTable = {
  // What there is.
  sessiond_sessions: { kind: "gauge", labels: ["life_state"], help: "Sessions by life state.", value: ({ census }) => by("life_state", census.lifeStates) },
  sessiond_live_sessions: { kind: "gauge", labels: ["status"], help: "Live sessions by status.", value: ({ census }) => by("status", census.statuses) },
  sessiond_faulted_sessions: { kind: "gauge", help: "Sessions that cannot write their journal.", value: ({ census }) => census.faulted },
  sessiond_seats: { kind: "gauge", labels: ["role"], help: "Seats by role, those in their grace included.", value: ({ census }) => by("role", census.seats) },
  sessiond_turns_running: { kind: "gauge", help: "Turns that run now.", value: ({ census }) => census.turnsRunning },
  sessiond_approvals_pending: { kind: "gauge", help: "Questions that wait for an answer.", value: ({ census }) => census.approvalsPending },
  sessiond_prompts_queued: { kind: "gauge", help: "Prompts that wait to run, held ones included.", value: ({ census }) => census.promptsQueued },
  sessiond_connections: { kind: "gauge", help: "Clients connected.", value: ({ door }) => door.connections },
  // Readers.
  sessiond_readers: { kind: "gauge", help: "Streams of sessions that are followed.", value: ({ census }) => census.lags.length },
  sessiond_readers_behind: {
    kind: "gauge",
    help: "Streams that lack frames which are shown.",
    value: ({ census }) => census.lags.filter((lag) => lag > 0).length,
  },
  sessiond_reader_lag_max_frames: {
    kind: "gauge",
    help: "Frames that the slowest stream lacks.",
    value: ({ census }) => census.lags.reduce((most, lag) => Math.max(most, lag), 0),
  },
  sessiond_slow_consumers_total: {
    kind: "counter",
    help: "Connections closed because their peer took nothing.",
    value: ({ counters }) => counters.slowConsumers,
  },
  // Frames.
  sessiond_frames_encoded_total: { kind: "counter", help: "Frames made into text.", value: ({ counters }) => counters.framesEncoded },
  sessiond_frames_decoded_total: { kind: "counter", help: "Frames read out of a journal's text.", value: ({ counters }) => counters.framesDecoded },
  sessiond_frames_shown_total: { kind: "counter", help: "Frames shown.", value: ({ counters }) => counters.framesShown },
  sessiond_frames_sent_total: { kind: "counter", help: "Frames sent, once for each stream.", value: ({ counters }) => counters.framesSent },
  sessiond_batches_sent_total: { kind: "counter", help: "Batches sent, once for each stream.", value: ({ counters }) => counters.batchesSent },
  // Disk and sockets.
  sessiond_journal_read_bytes_total: { kind: "counter", help: "Bytes read from journals.", value: ({ counters }) => counters.journalReadBytes },
  sessiond_journal_written_bytes_total: { kind: "counter", help: "Bytes written to journals.", value: ({ counters }) => counters.journalWrittenBytes },
  sessiond_journal_writes_total: { kind: "counter", help: "Writes to journals.", value: ({ counters }) => counters.journalWrites },
  sessiond_journal_syncs_total: { kind: "counter", help: "Syncs of journals.", value: ({ counters }) => counters.journalSyncs },
  sessiond_files_replaced_total: { kind: "counter", help: "Other files, replaced whole and synced.", value: ({ counters }) => counters.filesReplaced },
  sessiond_socket_read_bytes_total: { kind: "counter", help: "Bytes read from the daemon's socket.", value: ({ door }) => door.readBytes },
  sessiond_socket_written_bytes_total: { kind: "counter", help: "Bytes written to the daemon's socket.", value: ({ door }) => door.writtenBytes },
  // Calls.
  sessiond_calls_total: {
    kind: "counter",
    labels: ["verb", "code"],
    help: "Calls by verb and outcome; of a stream its first item, or why there was none.",
    value: ({ counters }) => callsOf(counters).map(({ verb, code, count }) => [{ verb, code }, count] as const),
  },
  sessiond_refusals_total: {
    kind: "counter",
    labels: ["code"],
    help: "Calls refused to their caller, by error code.",
    value: ({ counters }) => refusalsOf(counters),
  },
  sessiond_throttled_total: {
    kind: "counter",
    labels: ["limit"],
    help: "Calls refused with `rate_limited`, by the limit that they went beyond.",
    value: ({ counters }) => by("limit", counters.throttled),
  },
  sessiond_turned_away_total: {
    kind: "counter",
    labels: ["reason"],
    help: "Requests refused before a credential was looked at.",
    value: ({ counters }) => by("reason", counters.turnedAway),
  },
  sessiond_stream_ends_total: {
    kind: "counter",
    labels: ["code"],
    help: "Streams that an error ended, by its code.",
    value: ({ counters }) => by("code", counters.streamEnds),
  },
  sessiond_audit_lines_total: { kind: "counter", help: "Audit lines written.", value: ({ audit }) => audit.written },
  sessiond_audit_refusals_counted_total: {
    kind: "counter",
    help: "Refusals in a flood, counted in place of a line each.",
    value: ({ audit }) => audit.refusals_counted,
  },
  sessiond_audit_failures_total: { kind: "counter", help: "Audit lines that could not be written.", value: ({ audit }) => audit.failed },
  // Work.
  sessiond_turns_ended_total: {
    kind: "counter",
    labels: ["stop_reason"],
    help: "Turns by how they ended.",
    value: ({ counters }) => by("stop_reason", counters.turnEnds),
  },
  sessiond_model_input_tokens_total: {
    kind: "counter",
    help: "Tokens sent to models, as these report them.",
    value: ({ counters }) => counters.modelInputTokens,
  },
  sessiond_model_output_tokens_total: {
    kind: "counter",
    help: "Tokens that models made, as these report them.",
    value: ({ counters }) => counters.modelOutputTokens,
  },
  // The process.
  sessiond_start_time_seconds: { kind: "gauge", help: "When the daemon started, in seconds since 1970.", value: ({ process }) => process.startedAt / 1000 },
  sessiond_resident_memory_bytes: { kind: "gauge", help: "Memory that the process holds.", value: ({ process }) => process.rssBytes },
  sessiond_heap_used_bytes: { kind: "gauge", help: "Part of it that is JavaScript objects.", value: ({ process }) => process.heapUsedBytes },
  sessiond_cpu_seconds_total: { kind: "counter", help: "Processor time used.", value: ({ process }) => process.cpuSeconds },
  sessiond_event_loop_active_seconds_total: {
    kind: "counter",
    help: "Time in which the event loop was at work; its rate is the loop's load.",
    value: ({ process }) => process.eventLoopActiveSeconds,
  },
} as const satisfies Record<string, MetricRow>;
