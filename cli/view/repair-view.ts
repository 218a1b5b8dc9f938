/** The pictures of `baton repair`: what is broken and the ways out, and how the repair ended. Pure. */
import type { CommandReply, Event } from "@baton/contracts";
import type { Paint } from "./colour.ts";

export function repairPlan(plan: CommandReply<"repair">, p: Paint): string[] {
  if (plan.faults.length === 0) return [`${p.green("✔")} nothing is broken that Baton could mend`];
  const lines = plan.faults.flatMap((f) => [
    `${p.bold(f.node)}  ${p.yellow(f.code)}  ${f.found}  ${p.dim(`policy: ${f.policy}`)}`,
    ...f.ways.map((way) => `  ${way.what}${way.command === null ? "" : `: ${p.cyan(way.command)}`}`),
  ]);
  return plan.operation === null ? lines : [...lines, p.dim(plan.operation)];
}

export function repairEnd(ended: Event, p: Paint): string {
  const next = ended.next === null ? "" : `  next: ${ended.next}`;
  return ended.outcome === "completed"
    ? `${p.green("✔ mended")}  ${ended.summary}`
    : `${p.red(`✖ ${ended.code ?? ended.outcome}`)}  ${ended.summary}${next}`;
}
