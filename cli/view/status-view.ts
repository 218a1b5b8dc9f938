/** The picture of `baton status`. Pure: the decider's answer in, lines out. */
import { type ClusterView, DIAGNOSES, type NodeView, REFUSALS } from "@baton/contracts";
import { utc } from "@baton/protocol";
import { duration, list, plural } from "./amounts.ts";
import type { Paint } from "./colour.ts";
import { columns } from "./columns.ts";

export function statusLines(clusters: readonly ClusterView[], p: Paint): string[] {
  if (clusters.length === 0) {
    return [
      "No cluster is declared.",
      p.dim("Declare one in baton.yaml and put it in place: baton apply -c baton.yaml"),
    ];
  }
  return clusters.flatMap((cluster, i) => [...(i > 0 ? [""] : []), ...clusterLines(cluster, p)]);
}

function clusterLines(c: ClusterView, p: Paint): string[] {
  const { diagnosis } = c;
  const mark = { info: p.green("●"), warning: p.yellow("▲"), critical: p.red("✖") }[diagnosis.severity];
  const heading = [
    `${mark} ${p.bold(c.cluster)}`,
    severityPaint(diagnosis.severity, p)(diagnosis.code),
    c.phase === null ? p.dim("not adopted yet") : `epoch ${c.epoch}`,
    c.phase !== null && c.phase !== "steady" ? p.yellow(`${c.phase} (${c.operation ?? "?"})`) : "",
  ];
  const lines = [heading.filter(Boolean).join("  ")];
  if (c.brake !== null) lines.push(p.yellow(`  ‖ Baton does nothing by itself: ${c.brake}`));
  for (const w of c.maintenance)
    lines.push(p.dim(`  maintenance ${utc(w.fromUnixMs)} to ${utc(w.untilUnixMs)}, by ${w.by}: ${w.reason}`));
  if (c.planned !== null)
    lines.push(
      p.cyan(
        `  switchover to ${c.planned.to ?? "whom Baton chooses"} planned for ${utc(c.planned.atUnixMs)}, by ${c.planned.by}`,
      ),
    );
  if (c.durability !== undefined) lines.push(p.yellow(`  ≈ ${c.durability}`));
  if (diagnosis.code !== "healthy") {
    lines.push(`  ${diagnosis.summary}`, p.dim(`  ${DIAGNOSES[diagnosis.code].action}`));
  }
  lines.push(
    ...columns(
      c.nodes.map((node) => nodeCells(node, c, p)),
      { indent: 2 },
    ),
  );
  lines.push(`  ${failoverLine(c, p)}`);
  if (!c.failover.possible && c.failover.refusal) {
    lines.push(p.dim(`  ${REFUSALS[c.failover.refusal].action}`));
  }
  lines.push(p.dim(`  ${proberLine(c)}`));
  return lines;
}

function nodeCells(n: NodeView, c: ClusterView, p: Paint): string[] {
  const problems = [...new Set(n.problems)];
  if (n.quarantined && !problems.includes("errant-gtid")) problems.unshift("errant-gtid");
  return [
    p.bold(n.node),
    n.role === "primary" ? p.cyan("primary") : n.role === "unknown" ? p.dim("unknown") : n.role,
    reachability(n, p),
    lag(n, c, p),
    p.dim(`${n.host}:${n.port}`),
    p.dim(n.region),
    p.dim(n.version ?? ""),
    [
      n.quarantined ? p.red("quarantined") : "",
      n.downtime === null ? "" : p.yellow(`in downtime until ${utc(n.downtime.untilUnixMs)}`),
      problems.map((code) => p.yellow(code)).join(", "),
    ]
      .filter(Boolean)
      .join(" "),
  ];
}

function reachability(n: NodeView, p: Paint): string {
  if (n.outcome === null) return p.dim("not seen yet");
  if (n.outcome !== "ok") return p.red(n.outcome);
  if (n.writable === null) return p.green("ok");
  return n.writable ? p.green("writable") : p.green("read-only");
}

function lag(n: NodeView, c: ClusterView, p: Paint): string {
  if (n.node === c.primary || n.role === "primary" || n.outcome !== "ok") return "";
  if (n.delayMs === null) return p.dim("lag unknown");
  const text = n.delayMs < 1 ? "in step" : `${duration(n.delayMs)} behind`;
  return n.delayMs >= 1_000 ? p.yellow(text) : text;
}

/** One sentence: would a failover succeed now, to whom, else why not. */
export function failoverLine(c: ClusterView, p: Paint): string {
  if (c.failover.possible) {
    const { candidate, loss } = c.failover;
    const lost = loss ? p.yellow(`, and would lose up to ${plural(loss.atMost, "transaction")}`) : "";
    return `${p.green("✔")} a failover would succeed now${candidate ? `, to ${p.bold(candidate)}` : ""}${lost}`;
  }
  const code = c.failover.refusal ? ` (${c.failover.refusal})` : "";
  return `${p.red("✘")} a failover would not succeed now${code}: ${c.failover.reason}`;
}

function proberLine(c: ClusterView): string {
  if (c.probers.length === 0) return "watched by nobody: no prober reports";
  const each = c.probers.map((x) => `${x.prober} (${x.region}, ${duration(x.lastSampleAgeMs)} ago)`);
  return `watched by ${plural(c.probers.length, "prober")}: ${list(each)}`;
}

/** What `baton up` says when a cluster is first known: `shop: primary n1, replicas n2 and n3; …`. */
export function readyLine(c: ClusterView, p: Paint): string {
  const replicas = c.nodes.filter((n) => n.role === "replica").map((n) => n.node);
  const others = c.nodes.filter((n) => n.role !== "replica" && n.node !== c.primary).map((n) => n.node);
  const parts = [c.primary ? `primary ${p.bold(c.primary)}` : p.red("no primary known")];
  if (replicas.length > 0) parts.push(`${replicas.length === 1 ? "replica" : "replicas"} ${list(replicas)}`);
  if (others.length > 0) parts.push(p.yellow(`not following: ${list(others)}`));
  return `${p.bold(c.cluster)}: ${parts.join(", ")}; ${failoverLine(c, p)}`;
}

function severityPaint(severity: ClusterView["diagnosis"]["severity"], p: Paint) {
  return { info: p.green, warning: p.yellow, critical: p.red }[severity];
}
