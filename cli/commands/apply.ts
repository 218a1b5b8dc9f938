/** `baton apply`. */
import { createInterface } from "node:readline/promises";
import type { Bus } from "@baton/bus";
import { BatonError, type Config } from "@baton/contracts";
import { configFile, withClusters } from "../config-file.ts";
import { type Change, type DeclarationPlan, planDeclaration } from "../declare.ts";
import { Exit } from "../failure.ts";
import { chooseNats, natsOf, reachBus } from "../reach.ts";
import { type Leaving, takeLeave } from "../take-leave.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";

interface Options {
  config?: string;
  nats?: string;
  prune?: true;
  dryRun?: true;
  force?: true;
  forceJoin?: string;
  confirmSize?: number;
  json?: true;
}

export async function apply(o: Options): Promise<void> {
  const { config, file } = configFile(o.config);
  withClusters(config, file);
  knownNode(config, o);
  const choice = o.nats === undefined ? natsOf(config.nats) : await chooseNats({ nats: o.nats });
  const bus = await reachBus({ ...choice, replicas: config.nats.replicas });
  try {
    const judge = (size: number | null) =>
      planDeclaration(bus, config, {
        by: "apply",
        prune: o.prune === true,
        force: o.force === true,
        forceJoin: new Map(o.forceJoin === undefined ? [] : [[o.forceJoin, size]]),
      });
    let plan = await judge(o.confirmSize ?? null);
    const size = o.forceJoin === undefined ? undefined : plan.foreign.get(o.forceJoin);
    const asks = size !== undefined && o.confirmSize === undefined && o.dryRun !== true;
    if (asks && process.stdin.isTTY && process.stdout.isTTY)
      plan = await judge(await typedSize(o.forceJoin as string, size));
    const p = paint(wantsColour(process.stdout, process.env));
    const written = o.dryRun !== true && (plan.refusals.length === 0 || o.json);
    const leaving = written ? await plan.write() : [];
    tell(plan, o, p);
    let still = 0;
    for (const of of leaving) still += await sayLeave(bus, of, o, p);
    if (still > 0) throw new Exit(1);
    if (plan.refusals.length === 0) return;
    if (o.dryRun === true) throw new Exit(1);
    console.log("Nothing is written:");
    // What was asked for has been shown; this throws why it is refused.
    await plan.write();
  } finally {
    await bus.drain();
  }
}

/** Half a second where all is well. */
const LEAVE_MS = 15_000;

/** How many have not left in this time. */
async function sayLeave(bus: Bus, leaving: Leaving, o: Options, p: Paint): Promise<number> {
  const { cluster, nodes } = leaving;
  const still = await takeLeave(bus, leaving, AbortSignal.timeout(LEAVE_MS));
  const say = (line: string) => (o.json ? console.error(line) : console.log(line));
  for (const node of nodes.filter((name) => !still.includes(name)))
    say(`${p.green("●")} ${node} has left ${cluster}: it acknowledges nothing any more`);
  if (still.length === 0) return 0;
  const view = await bus.command("status", { cluster }, { timeoutMs: LEAVE_MS }).catch(() => null);
  for (const node of still) {
    const of = view?.clusters[0]?.nodes.find((n) => n.node === node);
    const why =
      view === null
        ? "no decider answers; it leaves when one runs"
        : of?.outcome === "ok"
          ? (of.member?.why ?? "nothing is known of it")
          : `it cannot be asked (${of?.outcome ?? "never seen"}). If it does not come back: baton forget ${cluster} ${node} --reason WHY`;
    say(
      `${p.yellow("!")} ${node} still counts in ${cluster}: ${why}. Baton goes on trying (baton history ${cluster} says what keeps it); then baton apply again ends it. To keep it, declare it again.`,
    );
  }
  return still.length;
}

function knownNode(config: Config, { forceJoin, confirmSize }: Options): void {
  if (forceJoin === undefined && confirmSize === undefined) return;
  const nodes = Object.values(config.clusters).flatMap((c) => Object.keys(c.nodes));
  if (forceJoin !== undefined && nodes.includes(forceJoin)) return;
  throw new BatonError("E_USAGE", {
    place: "apply",
    message:
      forceJoin === undefined
        ? "--confirm-size says how much is given up, and not of which node."
        : `No node is called ${JSON.stringify(forceJoin)}.`,
    remedy: `Say --force-join with one of ${nodes.join(", ")}.`,
  });
}

async function typedSize(node: string, transactions: number): Promise<number | null> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const typed = await lines.question(
      `The server of ${node} holds ${transactions} transactions that are not this cluster's. It will lose them.\nType their number to go on: `,
    );
    return /^\d+$/.test(typed.trim()) ? Number(typed.trim()) : null;
  } finally {
    lines.close();
  }
}

function tell(plan: DeclarationPlan, o: Options, p: Paint): void {
  if (o.json) {
    const { changes, refusals, warnings } = plan;
    const refused = refusals.map(({ code, place, message, remedy }) => ({ code, place, message, remedy }));
    console.log(JSON.stringify(o.dryRun ? { changes, refused, warnings } : changes, null, 2));
    return;
  }
  for (const line of changeLines(plan.changes, p)) console.log(line);
  for (const warning of plan.warnings) console.log(`${p.yellow("!")} ${warning}`);
  if (!o.dryRun) return;
  for (const [cluster, nodes] of plan.leaving)
    console.log(
      `${p.yellow("!")} ${nodes.join(", ")} would leave ${cluster} first: until others hold what it holds it counts`,
    );
  for (const refusal of plan.refusals) console.log(`${p.red("×")} ${refusal.line()}`);
  console.log(
    plan.refusals.length > 0
      ? "Nothing was written; baton apply would refuse this."
      : "Nothing was written; baton apply would write this.",
  );
}

export function changeLines(changes: readonly Change[], p: Paint): string[] {
  return changes.flatMap((change) => linesOf(change, p));
}

function linesOf({ cluster, what, details }: Change, p: Paint): string[] {
  const name = p.bold(cluster);
  switch (what) {
    case "added":
      return [`${p.green("+")} ${name} added`];
    case "changed":
      return [`${p.yellow("~")} ${name} changed`, ...details.map((line) => `    ${line}`)];
    case "removed":
      return [`${p.red("-")} ${name} removed`];
    case "same":
      return [`${p.dim("=")} ${name} unchanged`];
    case "stays":
      return [`${p.yellow("!")} ${name} is still declared in NATS; baton apply --prune takes it out`];
  }
}
