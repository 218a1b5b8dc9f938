/**
 * The holes of the promises that were once found on real servers, dug again: product code is changed as its text is loaded into the
 * simulation's thread, so that it has no switch for them itself. A text that is no longer there stops the simulation: then the mechanism
 * has moved, and its hole is to be dug where it is now.
 */
import { registerHooks } from "node:module";

export interface Hole {
  readonly what: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export const HOLES = {
  "any-silence-is-gone": {
    what: "a member that is merely silent is parked, as if its process were gone",
    file: "services/decider/membership.ts",
    from: 'sample.outcome === "refused" && sample.attempts >= 2',
    to: 'sample.outcome !== "ok"',
  },
  "no-mark": {
    what: "T2, T3: whoever is opened need not hold the high-water mark, nor what others have of its own",
    file: "services/executor/open.ts",
    from: "  if (missed === null) return;",
    to: "  if (missed !== null || missed === null) return;",
  },
  "no-handover": {
    what: "T2: a quarantine does not wait until k others hold what the node holds",
    file: "services/executor/handover.ts",
    from: "if (mayLose(op.declared, op.state) || history.isEmpty()) return [];",
    to: "return [];",
  },
  "always-proven": {
    what: "T4, T1: no sample makes durability unproven",
    file: "services/decider/mark.ts",
    from: "  const semi = status.semiSync;\n  const seen =",
    to: "  if (status !== null) return null;\n  const semi = status.semiSync;\n  const seen =",
  },
  "hollow-is-whole": {
    what: "T6: a node that does not get its own transactions back follows and acknowledges all the same",
    file: "services/executor/join.ts",
    from: 'const sure = status.flavour === "mariadb" || lacking.equals(comes);',
    to: "const sure = status !== null || lacking.equals(comes);",
  },
  "state-may-go-back": {
    what: "T7, T25: a state that is older than the epoch in the data is believed",
    file: "libs/protocol/epoch-row.ts",
    from: "  if (ahead !== undefined)\n    return {",
    to: '  if (ahead !== undefined && cluster === "")\n    return {',
  },
  "intents-are-not-repeated": {
    what: "T8: the intent of a state whose operation nobody runs is not given again",
    file: "services/decider/decide.ts",
    from: "  if (state === null || state.value.operation === null) return false;",
    to: "  if (state === null || state.value.operation !== undefined) return false;",
  },
  "buckets-are-not-told": {
    what: "T21: a state that NATS has lost is not put back",
    file: "services/decider/epoch.ts",
    from: "  if (remembered === null || now - picture.putBackMs < PUT_BACK_EVERY_MS) return null;",
    to: "  if (remembered === null || now > 0) return null;",
  },
  "unknown-vouches": {
    what: "L: a replica that the ledger does not know can vouch, and so can one that lacks what it was seen to hold",
    file: "libs/protocol/vouch.ts",
    from: "  if (ledger === undefined)\n    return no(",
    to: '  if (ledger === undefined || ledger !== null)\n    return { canVouch: true, missing: GtidSet.empty, reason: "" };\n  if (ledger === undefined)\n    return no(',
  },
} as const satisfies Record<string, Hole>;

export type HoleName = keyof typeof HOLES;

/** Before the text is loaded. @throws Error when loading it, where it is not as the hole expects */
export function dig(name: HoleName): void {
  const { file, from, to }: Hole = HOLES[name];
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      if (!url.endsWith(`/${file}`)) return loaded;
      const text = loaded.source?.toString() ?? "";
      if (!text.includes(from)) throw new Error(`hole ${name}: ${file} has no ${JSON.stringify(from)}`);
      return { ...loaded, source: text.replace(from, () => to) };
    },
  });
}
