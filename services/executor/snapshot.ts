/** What every node says of itself at one moment: its sets, its position, who is connected. For the audit of a split brain. */
import type { Event, NodeStatus } from "@baton/contracts";
import type { Row } from "@baton/mysql";
import { beside } from "./beside.ts";
import { statusWithEpoch } from "./epoch.ts";
import { ours } from "./identity.ts";
import type { Operation } from "./operation.ts";

export interface Look {
  status: NodeStatus;
  position: Row | null;
  sessions: Row[];
}

/** A node that answers later is taken as away. */
const LOOK_MS = 2_000;
/** Of all nodes together: an event has to fit into a message. */
const MOST_SESSIONS = 500;

/** The declared nodes that answer, all asked at once; but no server that is somebody else's. */
export async function lookAtAll(op: Operation): Promise<Map<string, Look>> {
  const names = Object.keys(op.declared.nodes);
  const most = Math.floor(MOST_SESSIONS / names.length);
  const looks = await Promise.all(
    names.map(async (node) => {
      const look = await beside(op, node, async (hand): Promise<Look> => {
        const d = hand.dialect;
        const status = await statusWithEpoch(hand, LOOK_MS);
        // Only for whoever reads the audit: a node that will not say is not away.
        const [sessions, position] = await hand.run([d.sessions(most), d.position], LOOK_MS).catch(() => []);
        return { status, position: position?.[0] ?? null, sessions: sessions ?? [] };
      }).catch(() => null);
      return [node, look] as const;
    }),
  );
  op.assertMine();
  return ours(op, new Map(looks.flatMap(([node, look]) => (look === null ? [] : [[node, look] as const]))));
}

/** Sets and positions as they are after the stop, sessions as they were before it ended them. */
export function snapshotDetail(
  before: ReadonlyMap<string, Look>,
  after: ReadonlyMap<string, Look>,
): Event["detail"] {
  const nodes = Object.fromEntries(
    [...new Set([...before.keys(), ...after.keys()])].map((node) => {
      const now = after.get(node) ?? before.get(node);
      const then = before.get(node);
      return [
        node,
        {
          executed: now?.status.executed ?? null,
          received: now?.status.replica?.received ?? null,
          source: now?.status.replica?.sourceUuid ?? null,
          readOnlyBefore: then?.status.readOnly ?? null,
          semiSync: now?.status.semiSync ?? null,
          position: now?.position ?? null,
          sessions: then?.sessions ?? [],
        },
      ];
    }),
  );
  return JSON.parse(JSON.stringify({ nodes })) as Event["detail"];
}
