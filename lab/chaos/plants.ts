/**
 * Bugs that can be planted in the deciders and executors of a chaos run, to see that it finds them (test/chaos-planted.test.ts). Product code
 * has no switch for them: plant-hook.ts changes a file's text when a process loads it.
 */

export interface Plant {
  what: string;
  /** The end of the file's path. */
  file: string;
  find: string;
  instead: string;
}

export const PLANTS = {
  "stop-too-few": {
    what: "one acker fewer than N−k+1 counts as a fence",
    file: "/libs/protocol/fence.ts",
    find: "return ackers - acks + 1;",
    instead: "return ackers - acks;",
  },
  "skip-apply-wait": {
    what: "the candidate is opened before it has applied what it received",
    file: "/services/executor/carry-forward.ts",
    find: 'if (received === "") return;',
    instead: "if (received.length >= 0) return;",
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof PLANTS;
