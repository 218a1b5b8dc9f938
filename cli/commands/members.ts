/** `baton members` and `baton forget`: who counts when the primary is lost, and why. */
import type { NodeView } from "@baton/contracts";
import { Exit } from "../failure.ts";
import { me } from "../me.ts";
import { listen } from "../operation-story.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;
const REASON_MOST = 500;

interface Options {
  config?: string;
  nats?: string;
  json?: true;
}

export async function members(cluster: string, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  try {
    const { clusters } = await bus.command("status", { cluster }, { timeoutMs: ANSWER_MS });
    const view = clusters[0];
    if (view === undefined) return;
    const beside = view.nodes.flatMap(({ node, serverUuid, member }) =>
      member === null ? [] : [{ node, serverUuid, ...member }],
    );
    const { primary, epoch, failover } = view;
    if (o.json) {
      console.log(JSON.stringify({ cluster, epoch, primary, members: beside, failover }, null, 2));
      return;
    }
    if (primary === null) {
      console.log(`${cluster} has not been adopted yet: baton status ${cluster} says why.`);
      return;
    }
    const count = beside.filter((m) => m.counts).length;
    console.log(
      `${p.bold(cluster)}  epoch ${epoch}, primary ${primary}; ${count} member${count === 1 ? "" : "s"} beside it`,
    );
    const width = Math.max(...beside.map((m) => m.node.length), 4);
    for (const m of beside) {
      const mark = m.counts ? p.green("counts") : p.dim("      ");
      console.log(`  ${m.node.padEnd(width)}  ${mark}  ${m.serverUuid ?? "(uuid not known)"}  ${m.why}`);
    }
    console.log(
      failover.possible
        ? `A failover is possible: ${failover.reason}.`
        : `No failover now${failover.refusal === null ? "" : ` (${failover.refusal})`}: ${failover.reason}.`,
    );
  } finally {
    await bus.drain();
  }
}

export async function forget(
  cluster: string,
  node: NodeView["node"],
  o: Options & { reason: string; dryRun?: true },
): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (line: string) => {
    if (!o.json) console.log(line);
  };
  try {
    const story = listen(bus, cluster, `forget ${cluster} ${node}`);
    const request = {
      cluster,
      node,
      dryRun: o.dryRun === true,
      by: me(),
      reason: o.reason.slice(0, REASON_MOST),
    };
    const answer = await bus.command("forget", request, { timeoutMs: ANSWER_MS });
    say(
      `${p.bold(`without ${node}`)}  ${answer.members.join(", ") || "nobody"} would count, and a failover would need ${answer.needed} of them`,
    );
    if (answer.operation === null) {
      if (o.json) console.log(JSON.stringify(answer, null, 2));
      return;
    }
    const { ended } = await story.follow(answer.operation, (step) => say(stepLine(step, p)));
    const { outcome, code, summary } = ended;
    if (o.json) console.log(JSON.stringify({ ...answer, outcome, code, summary }, null, 2));
    else
      say(
        outcome === "completed"
          ? `${p.green("●")} ${node} does not count until it is led home`
          : `${p.red("●")} nothing was changed (${code}): ${node} goes on counting`,
      );
    if (outcome !== "completed") throw new Exit(1);
  } finally {
    await bus.drain();
  }
}
