import type { HostStatus } from "@instavm/core";

interface Tally {
  readonly statuses: Map<number, number>;
  count: number;
  totalMs: number;
}

/** Counts what the API answered. Labels come from the table of operations, so their number is bounded. */
export class RequestMetrics {
  readonly #tallies = new Map<string, Tally>();

  record(operation: string, status: number, durationMs: number): void {
    const tally = this.#tallies.get(operation) ?? { statuses: new Map<number, number>(), count: 0, totalMs: 0 };
    this.#tallies.set(operation, tally);
    tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1);
    tally.count += 1;
    tally.totalMs += durationMs;
  }

  /** Prometheus text lines. */
  lines(): readonly string[] {
    const requests: string[] = [];
    const seconds: string[] = [];
    for (const [operation, tally] of this.#tallies) {
      for (const [status, count] of tally.statuses) {
        requests.push(`instavm_http_requests_total{operation="${operation}",status="${status}"} ${count}`);
      }
      seconds.push(`instavm_http_request_seconds_sum{operation="${operation}"} ${tally.totalMs / 1000}`);
      seconds.push(`instavm_http_request_seconds_count{operation="${operation}"} ${tally.count}`);
    }
    return [
      "# HELP instavm_http_requests_total Requests answered.",
      "# TYPE instavm_http_requests_total counter",
      ...requests,
      "# HELP instavm_http_request_seconds From the request's head to the end of its answer.",
      "# TYPE instavm_http_request_seconds summary",
      ...seconds,
    ];
  }
}

/** Prometheus text lines about the host. */
export function hostLines(status: HostStatus, version: string): readonly string[] {
  const { facts, pool } = status;
  const labels = `version="${version}",engine="${facts.name}",accelerator="${facts.accelerator}"`;
  const starts = Object.entries(status.startsByKind).map(
    ([kind, count]) => `instavm_vm_starts_total{kind="${kind}"} ${count}`,
  );
  return [
    ...gauge("instavm_info", "What runs here.", [`instavm_info{${labels}} 1`]),
    ...gauge("instavm_zygotes_ready", "Stopped VMs that can be forked.", [
      `instavm_zygotes_ready ${status.zygoteCount}`,
    ]),
    ...gauge("instavm_vms", "Live VMs of sessions.", [`instavm_vms ${status.vmCount}`]),
    ...gauge("instavm_pool_size", "VMs that the pool should hold.", [`instavm_pool_size ${pool.size}`]),
    ...gauge("instavm_pool_ready", "VMs that the pool holds.", [`instavm_pool_ready ${pool.ready}`]),
    "# HELP instavm_vm_starts_total VMs handed to sessions, by how they came to run.",
    "# TYPE instavm_vm_starts_total counter",
    ...starts,
  ];
}

function gauge(name: string, help: string, samples: readonly string[]): readonly string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...samples];
}
