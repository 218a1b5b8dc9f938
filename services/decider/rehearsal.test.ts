import { expect, it } from "vitest";
import { rehearse } from "./rehearsal.ts";
import { SETTINGS } from "./scene.testkit.ts";

it("a death on paper is ordered away", async () => {
  await expect(rehearse(SETTINGS)).resolves.toBeUndefined();
});

it("a decider that could not believe in a death does not pass", async () => {
  await expect(rehearse({ ...SETTINGS, freshMs: -1 })).rejects.toThrow("without an order");
});
