/**
 * Has the primary its ackers, and since when? With `onAckLoss: degrade` writes that have waited for them long enough are let go
 * without, and wait again once the ackers are back. Pure.
 */
import type { OperationKind, SemiSyncStatus } from "@baton/contracts";
import { mayLose, type Unseen } from "@baton/protocol";
import type { Picture } from "./picture.ts";
import type { VoteSettings } from "./votes.ts";
import { unseenSince } from "./writing.ts";

/** Ackers that come and go restore nothing: they must have been there for so long. */
const BACK_MS = 1_000;

export interface Ackers {
  enough: boolean;
  sinceMs: number;
}

/** The primary's semi-sync, as last read in this reign; null when that is not known. */
export function semiSyncNow(picture: Picture): SemiSyncStatus | null {
  const known = picture.statuses.get(picture.state?.value.primary ?? "");
  const present = known !== undefined && known.atMs > (picture.state?.sinceMs ?? 0);
  return present && !known.status.readOnly ? known.status.semiSync : null;
}

export function noteAckers(picture: Picture, now: number): Picture {
  const semi = semiSyncNow(picture);
  if (semi === null) return picture.ackers === null ? picture : { ...picture, ackers: null };
  const enough = semi.clients >= (picture.declared?.policy.acks ?? 1);
  return picture.ackers?.enough === enough ? picture : { ...picture, ackers: { enough, sinceMs: now } };
}

/** What is to be done about it, and why; null: nothing. */
export function durabilityWish(
  picture: Picture,
  now: number,
  s: VoteSettings,
): { kind: Extract<OperationKind, "degrade" | "restore">; reason: string } | null {
  const { declared, state, ackers } = picture;
  const semi = semiSyncNow(picture);
  if (declared === null || state === null || ackers === null || semi === null) return null;
  const readMs = picture.statuses.get(state.value.primary)?.atMs ?? Number.NEGATIVE_INFINITY;
  if (now - readMs > s.freshMs) return null;
  const { durability, onAckLoss, degradeAfterMs, ackTimeoutMs } = declared.policy;
  const forMs = now - ackers.sinceMs;
  const { degraded } = state.value;
  // An operation that was given up half-way left it off; the same again ends it.
  if (degraded !== undefined && !semi.source)
    return { kind: "degrade", reason: "Semi-sync was left off when the durability was degraded." };
  if (!semi.source) return null;
  if (degraded !== undefined && ackers.enough && forMs >= BACK_MS)
    return { kind: "restore", reason: `${semi.clients} ackers are attached again.` };
  const waits = semi.timeoutMs > ackTimeoutMs;
  // There it is refused with everything else (flavour-cannot).
  const supported = picture.statuses.get(state.value.primary)?.status.flavour !== "mariadb";
  if (
    supported &&
    durability === "lossless" &&
    onAckLoss === "degrade" &&
    !ackers.enough &&
    waits &&
    forMs >= degradeAfterMs
  )
    return {
      kind: "degrade",
      reason: `${semi.clients} ackers are attached, a write needs ${declared.policy.acks}, for ${Math.round(forMs)} ms.`,
    };
  return null;
}

/** Where a failover may lose something: what the primary may have written since it was last read. Undefined: nothing may be lost. */
export function unseenNow(picture: Picture, now: number): { unseen: Unseen } | undefined {
  const { declared, state } = picture;
  if (declared === null || state === null || !mayLose(declared, state.value)) return undefined;
  const readMs = picture.statuses.get(state.value.primary)?.atMs ?? null;
  return { unseen: unseenSince(picture.writing, readMs, now) };
}

/** One sentence for a person, where a write that was answered may be lost; undefined: it may not. */
export function describeDurability(picture: Picture): string | undefined {
  const { declared, state } = picture;
  const degraded = state?.value.degraded;
  if (degraded !== undefined)
    return `degraded since ${new Date(degraded.sinceUnixMs).toISOString().slice(0, 19).replace("T", " ")} UTC: writes do not wait for acks`;
  if (declared?.policy.durability !== "available") return undefined;
  return `available: a write waits ${declared.policy.ackTimeoutMs} ms for acks at most`;
}
