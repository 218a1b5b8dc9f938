/** The picture of `baton check`. Pure. */
import type { Finding } from "../check/finding.ts";
import { plural } from "./amounts.ts";
import type { Paint } from "./colour.ts";

/** Places in the order of the configuration, each with what was found there or a tick. */
export function checkLines(
  places: readonly { place: string; about: string }[],
  findings: readonly Finding[],
  p: Paint,
): string[] {
  const lines: string[] = [];
  for (const { place, about } of places) {
    const here = findings.filter((f) => f.place === place);
    const bad = here.some(({ level }) => level === "error");
    const mark = bad ? p.red("✘") : here.length > 0 ? p.yellow("!") : p.green("✔");
    lines.push(`${mark} ${p.bold(place)}  ${p.dim(about)}`);
    for (const f of here) {
      lines.push(`    ${(f.level === "error" ? p.red : p.yellow)(f.code)}  ${f.found}`);
      lines.push(p.dim(`      ${f.why}`));
      if (f.mend !== "") lines.push(`      ${p.cyan(f.mend)}`);
    }
  }
  const errors = findings.filter(({ level }) => level === "error").length;
  const advice = findings.length - errors;
  const also = advice > 0 ? `, and ${plural(advice, "piece of advice", "pieces of advice")}` : "";
  lines.push(
    "",
    errors === 0
      ? p.green(`Fit for a failover${also}.`)
      : p.red(`${plural(errors, "thing")} to mend before a failover would be safe${also}.`),
  );
  return lines;
}
