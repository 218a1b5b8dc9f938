/** Which node is the primary of a cluster that Baton has no state of yet. */
import { flavourRefusal, follows } from "@baton/protocol";
import type { Picture } from "./picture.ts";
import { reachable, type VoteSettings } from "./votes.ts";

/** The one writable node that at least one other follows, while no other is writable; else why there is none. */
export function findPrimary(
  picture: Picture,
  now: number,
  s: VoteSettings,
): { primary: string } | { why: string } {
  const nodes = Object.entries(picture.declared?.nodes ?? {});
  const known = nodes.flatMap(([node, declared]) => {
    const k = picture.statuses.get(node);
    return k !== undefined && now - k.atMs <= s.freshMs ? [{ node, declared, status: k.status }] : [];
  });
  const writable = known.filter((n) => !n.status.readOnly);
  if (writable.length > 1) return { why: `${writable.map((n) => n.node).join(" and ")} are both writable` };
  const [only] = writable;
  if (only === undefined) {
    const missing = nodes.filter(([n]) => reachable(picture, n, Number.NEGATIVE_INFINITY, now, s) !== true);
    return {
      why:
        missing.length > 0
          ? `no node is seen to be writable; not reached: ${missing.map(([n]) => n).join(", ")}`
          : "every node is read-only",
    };
  }
  const followers = known.filter(
    (n) =>
      n.node !== only.node &&
      follows(n.status, only.status.serverUuid, only.declared) &&
      n.status.replica?.receiver === "on",
  );
  const statuses = new Map(known.map((n) => [n.node, n.status]));
  if (followers.length === 0) return { why: `${only.node} is writable but no declared node follows it` };
  const unfit = picture.declared === null ? null : flavourRefusal(picture.declared.policy, statuses);
  if (unfit !== null) return { why: `${unfit.reason} (${unfit.refusal})` };
  return { primary: only.node };
}
