/** The page for users says what there is: it would soon say something else, if nobody looked. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { FAULTS } from "./faults.ts";

it("docs/chaos.md has each fault as it is, and no other", () => {
  const page = readFileSync(new URL("../../docs/chaos.md", import.meta.url), "utf8");
  const rows = FAULTS.map(({ name, roles, expects, what }) => {
    const alone = roles.includes("main") ? expects : "";
    return `| \`${name}\` | ${alone} | ${roles.includes("side") ? "yes" : ""} | ${what} |`;
  });
  expect(page.split("\n").filter((line) => line.startsWith("| `"))).toEqual(rows);
});
