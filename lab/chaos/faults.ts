/** Every fault that chaos knows: SAFETY.md's list, as far as this machine can make it. */
import { LabError } from "../lab-error.ts";
import { onBaton } from "./faults-baton.ts";
import { onNetwork } from "./faults-network.ts";
import { onPrimary } from "./faults-primary.ts";
import { onReplicas } from "./faults-replicas.ts";
import type { Fault } from "./scene.ts";

export const FAULTS: readonly Fault[] = [...onPrimary, ...onNetwork, ...onReplicas, ...onBaton];

/** The named ones, or all. Error: LabError `bad-option`, also when none of them can be a round's main fault. */
export function faultsNamed(names: readonly string[] | undefined): readonly Fault[] {
  if (names === undefined || names.length === 0) return FAULTS;
  const chosen = names.map(faultNamed);
  if (chosen.some((fault) => fault.roles.includes("main"))) return chosen;
  throw new LabError("bad-option", {
    found: `faults ${names.join(", ")}, which only come on top of another`,
    expected: "one that can be a round's main fault",
    remedy: "add kill, for example",
  });
}

export function faultNamed(name: string): Fault {
  const fault = FAULTS.find((each) => each.name === name);
  if (fault) return fault;
  throw new LabError("bad-option", {
    found: `fault ${name}`,
    expected: `some of ${FAULTS.map((each) => each.name).join(", ")}`,
    remedy: "correct the name",
  });
}
