import { expect, test } from "vitest";
import { paint } from "./colour.ts";
import { readyLine, statusLines } from "./status-view.ts";
import { cluster, diagnosis, node } from "./views.testkit.ts";

const plain = paint(false);

test("a healthy cluster", () => {
  expect(statusLines([cluster()], plain)).toEqual([
    "● shop  healthy  epoch 3",
    "  n1  primary  writable            10.0.0.1:3306  eu  9.7.4",
    "  n2  replica  read-only  in step  10.0.0.1:3306  eu  9.7.4",
    "  ✔ a failover would succeed now, to n2",
    "  watched by 1 prober: prober-1 (eu, 120 ms ago)",
  ]);
});

test("a dead primary that cannot be replaced: what is known, why not, what to do", () => {
  const lines = statusLines(
    [
      cluster({
        diagnosis: diagnosis({
          code: "failover-not-possible",
          severity: "critical",
          summary: "n1 is dead and n2 cannot be reached.",
        }),
        nodes: [
          node("n1", { role: "primary", outcome: "refused", writable: null, version: null }),
          node("n2", { outcome: "timeout-connect", problems: ["replica-dead"], version: null }),
        ],
        failover: {
          possible: false,
          candidate: null,
          refusal: "ackers-unreachable",
          reason: "0 of 1 ackers can be stopped",
        },
        probers: [],
      }),
    ],
    plain,
  );
  expect(lines).toEqual([
    "✖ shop  failover-not-possible  epoch 3",
    "  n1 is dead and n2 cannot be reached.",
    "  Nothing is touched. The refusal's code says what to bring back or decide.",
    "  n1  primary  refused            10.0.0.1:3306  eu",
    "  n2  replica  timeout-connect    10.0.0.1:3306  eu    replica-dead",
    "  ✘ a failover would not succeed now (ackers-unreachable): 0 of 1 ackers can be stopped",
    "  Bring back a replica or the old primary; Baton tries again by itself. When they are gone for good: `baton failover <cluster> --accept-unproven`.",
    "  watched by nobody: no prober reports",
  ]);
});

test("what stands out: a running operation, a lagging replica, a quarantined node", () => {
  const lines = statusLines(
    [
      cluster({
        phase: "promoting",
        operation: "failover-shop-3-x",
        nodes: [
          node("n2", { delayMs: 2_340 }),
          node("n3", { role: "detached", quarantined: true, delayMs: null }),
        ],
      }),
    ],
    plain,
  );
  expect(lines[0]).toBe("● shop  healthy  epoch 3  promoting (failover-shop-3-x)");
  expect(lines[1]).toBe("  n2  replica   read-only  2.34 s behind  10.0.0.1:3306  eu  9.7.4");
  expect(lines[2]).toBe(
    "  n3  detached  read-only  lag unknown    10.0.0.1:3306  eu  9.7.4  quarantined errant-gtid",
  );
});

test("a brake: who, since when, why, above everything else", () => {
  const brake = "paused by ann@ops1 since 2026-11-23 15:20:11 UTC: moving the rack";
  expect(statusLines([cluster({ brake })], plain)[1]).toBe(`  ‖ Baton does nothing by itself: ${brake}`);
});

test("a cluster that is not adopted, and none at all", () => {
  expect(statusLines([cluster({ phase: null, epoch: 0 })], plain)[0]).toBe(
    "● shop  healthy  not adopted yet",
  );
  expect(statusLines([], plain)).toEqual([
    "No cluster is declared.",
    "Declare one in baton.yaml and put it in place: baton apply -c baton.yaml",
  ]);
});

test("two clusters are set apart by an empty line", () => {
  const lines = statusLines([cluster(), cluster({ cluster: "blog" })], plain);
  expect(lines.filter((line) => line === "")).toHaveLength(1);
  expect(lines[lines.indexOf("") + 1]).toBe("● blog  healthy  epoch 3");
});

test("colours add nothing but colours", () => {
  const coloured = statusLines([cluster()], paint(true)).join("\n");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(coloured).toMatch(/\u001b\[/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(coloured.replace(/\u001b\[[0-9;]*m/g, "")).toBe(statusLines([cluster()], plain).join("\n"));
});

test("the line of baton up", () => {
  expect(readyLine(cluster(), plain)).toBe(
    "shop: primary n1, replica n2; ✔ a failover would succeed now, to n2",
  );
  expect(
    readyLine(
      cluster({
        primary: null,
        nodes: [node("n1", { role: "unknown" }), node("n2"), node("n3")],
        failover: { possible: false, candidate: null, refusal: null, reason: "not adopted" },
      }),
      plain,
    ),
  ).toBe(
    "shop: no primary known, replicas n2 and n3, not following: n1; ✘ a failover would not succeed now: not adopted",
  );
});
