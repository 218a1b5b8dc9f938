/** The first reign: the one writable node is written down as primary of epoch 1. Nothing is changed on any node. */
import { adopted, flavourRefusal } from "@baton/protocol";
import { heedEpoch, markEpoch, statusWithEpoch, withInstallation } from "./epoch.ts";
import type { Operation } from "./operation.ts";
import { Refusal, Superseded } from "./refusal.ts";

export async function adopt(op: Operation): Promise<void> {
  const node = op.intent.node;
  await op.step("adopt", async () => {
    const { openMs } = op.declared.policy.deadlines;
    const others = Object.keys(op.declared.nodes).filter((n) => n !== node);
    const read = async (name: string) => statusWithEpoch(await op.hand(name, openMs), openMs);
    const [status, ...rest] = await Promise.all([
      read(node).catch((error: unknown) => {
        if (error instanceof Superseded) throw error;
        throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
      }),
      ...others.map((n) => read(n).catch(() => null)),
    ]);
    if (status.readOnly) throw new Refusal("state-changed", `${node} is read-only now`);
    const writable = others.filter((_, i) => rest[i]?.readOnly === false);
    if (writable.length > 0) throw new Refusal("state-changed", `${writable.join(", ")} accept writes too`);
    const statuses = [node, ...others].flatMap((n, i) => {
      const of = i === 0 ? status : rest[i - 1];
      return of == null ? [] : [[n, of] as const];
    });
    heedEpoch(op, new Map(statuses));
    const unfit = flavourRefusal(op.declared.policy, new Map(statuses));
    if (unfit !== null) throw new Refusal(unfit.refusal, unfit.reason);
    const followers = statuses
      .filter(([, of]) => of.replica?.sourceUuid === status.serverUuid)
      .map(([n, of]) => [n, of.serverUuid] as const);
    const now = op.ports.nowUnixMs();
    const known = Object.fromEntries(followers);
    const state = adopted(op.intent, status.serverUuid, now, status.startedUnixS, known);
    await op.change(withInstallation(op, state));
    return {
      value: null,
      summary: `${node} is the primary of epoch 1`,
      detail: { serverUuid: status.serverUuid, executed: status.executed },
    };
  });
  const declared = op.declared.nodes[node];
  op.event({
    type: "cluster-adopted",
    node,
    outcome: "completed",
    code: null,
    summary: `${op.cluster} is watched from now on; ${node} is its primary`,
    primary: {
      node,
      host: declared?.host ?? "",
      port: declared?.port ?? 0,
      serverUuid: op.state.primaryUuid,
    },
    previous: null,
    next: null,
    detail: {},
  });
  await op
    .step("prove", async () => {
      await markEpoch(op, node, op.declared.policy.deadlines.proveMs);
      return { value: null, summary: `${node} carries the mark of epoch 1` };
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error;
    });
}
