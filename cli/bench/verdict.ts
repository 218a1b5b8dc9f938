/** The figures beside their limits. Pure. */
import { duration, median } from "../view/amounts.ts";
import type { Paint } from "../view/colour.ts";
import { columns } from "../view/columns.ts";

export interface Measured {
  floorMs: readonly number[];
  killMs: readonly number[];
  hangMs: readonly number[];
  cpuPerProbeMs: number | null;
  probesPerS: number | null;
  idleCpuPercent: number | null;
  servicesRssMb: number | null;
  lost: number;
  split: number;
}

export interface Row {
  what: string;
  measured: number | null;
  limit: number;
  unit: "ms" | "%" | "MB" | "writes";
  pass: boolean;
  note: string;
}

/** The limits. */
export const LIMITS = {
  floorFactor: 2.5,
  hangMs: 1_200,
  cpuPerProbeMs: 0.5,
  idleCpuPercent: 15,
  servicesRssMb: 600,
} as const;

export function verdicts(m: Measured): Row[] {
  const row = (what: string, measured: number | null, limit: number, unit: Row["unit"], note = ""): Row => ({
    what,
    measured,
    limit,
    unit,
    pass: measured !== null && measured <= limit,
    note,
  });
  const floor = median(m.floorMs);
  const kill = median(m.killMs);
  const factor = floor !== null && kill !== null ? `${(kill / floor).toFixed(2)} × the floor` : "";
  return [
    row(
      "kill -9: downtime, median",
      kill,
      floor === null ? 0 : floor * LIMITS.floorFactor,
      "ms",
      floor === null ? "no floor" : `${factor}; floor ${duration(floor)}, limit ${LIMITS.floorFactor} ×`,
    ),
    row("SIGSTOP: downtime, median", median(m.hangMs), LIMITS.hangMs, "ms"),
    row(
      "CPU of one look at a node, in calm",
      m.cpuPerProbeMs,
      LIMITS.cpuPerProbeMs,
      "ms",
      m.probesPerS === null
        ? ""
        : `${m.probesPerS.toFixed(0)} looks a second at all nodes; a bare service's CPU left out`,
    ),
    row("idle, all processes: CPU of one core", m.idleCpuPercent, LIMITS.idleCpuPercent, "%"),
    row("idle, all services: memory (RSS)", m.servicesRssMb, LIMITS.servicesRssMb, "MB"),
    row("acknowledged writes lost", m.lost, 0, "writes"),
    row("writes acknowledged by two servers", m.split, 0, "writes"),
  ];
}

export function verdictLines(rows: readonly Row[], p: Paint): string[] {
  return columns(
    [
      ["", "", "measured", "limit", ""].map(p.dim),
      ...rows.map((r) => [
        r.pass ? p.green("pass") : p.red("FAIL"),
        r.what,
        r.measured === null ? p.red("–") : p.bold(amount(r.measured, r.unit)),
        amount(r.limit, r.unit),
        p.dim(r.note),
      ]),
    ],
    { right: [2, 3] },
  );
}

function amount(value: number, unit: Row["unit"]): string {
  switch (unit) {
    case "ms":
      return value < 1 && value > 0 ? `${value.toFixed(2)} ms` : duration(value);
    case "%":
      return `${value.toFixed(1)} %`;
    case "MB":
      return `${Math.round(value)} MB`;
    case "writes":
      return String(value);
  }
}
