import { expect, it } from "vitest";
import { rehearse } from "./rehearsal.ts";

it("a failover on paper completes, with its steps in the contracts' words", async () => {
  await expect(rehearse()).resolves.toBeUndefined();
});
