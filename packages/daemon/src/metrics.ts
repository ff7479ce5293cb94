import { performance } from "node:perf_hooks";
import { isSessiondError } from "@sessiond/shared";
import type { Audit } from "./audit.ts";
import type { Clock } from "./clock.ts";
import type { Counters } from "./counters.ts";
import type { GateKeeper } from "./gate.ts";
import { census } from "./host/census.ts";
import type { Host } from "./host/host.ts";
import { metricTable, type Facts, type MetricRow } from "./metric-table.ts";

/**
 * The page of `/metrics`: the daemon's figures in Prometheus' text form, for the holder of the
 * host key. Nothing is kept between two scrapes: each fills a registry of its own, so two daemons in
 * one process cannot mix their figures. prom-client is loaded at the first scrape; a daemon that
 * nobody scrapes never pays for it.
 */
export interface MetricsOptions {
  readonly host: Host;
  readonly gate: GateKeeper;
  readonly audit: Audit;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly startedAt: number;
  door(): Facts["door"];
}

/** @throws SessiondError unauthenticated */
export async function metricsPage(options: MetricsOptions, hostKey: unknown): Promise<string> {
  const since = options.clock.steady();
  try {
    options.gate.owner(hostKey);
  } catch (error) {
    const outcome = isSessiondError(error) ? error.code : "internal";
    options.counters.called("metrics", outcome);
    options.audit.record({ verb: "metrics", outcome, ms: Math.round(options.clock.steady() - since) }, "refusal");
    throw error;
  }
  options.counters.called("metrics", "ok");
  return exposition(factsOf(options));
}

function factsOf({ host, audit, counters, startedAt, door }: MetricsOptions): Facts {
  const memory = process.memoryUsage();
  const cpu = process.cpuUsage();
  return {
    counters,
    census: census(host),
    audit: audit.counts,
    door: door(),
    process: {
      startedAt,
      rssBytes: memory.rss,
      heapUsedBytes: memory.heapUsed,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      eventLoopActiveSeconds: performance.eventLoopUtilization().active / 1000,
    },
  };
}

async function exposition(facts: Facts): Promise<string> {
  const { Counter, Gauge, Registry } = await import("prom-client");
  const registry = new Registry();
  for (const [name, row] of Object.entries<MetricRow>(metricTable)) {
    const about = { name, help: row.help, labelNames: [...(row.labels ?? [])], registers: [registry] };
    const metric = row.kind === "counter" ? new Counter(about) : new Gauge(about);
    const value = row.value(facts);
    for (const [labels, count] of typeof value === "number" ? [[{}, value] as const] : value) metric.inc(labels, count);
  }
  return registry.metrics();
}
