/** The network that chaos cuts: what is cut must be cut, one way only if so, and what is healed must be whole. */
import { once } from "node:events";
import { join } from "node:path";
import { cannotNetwork, spawnInOwnNetwork } from "@baton/lab/chaos";
import { expect, it } from "vitest";

const hindrance = cannotNetwork();
if (hindrance !== null) console.log(`test/chaos-network.test.ts makes no network here: ${hindrance.message}`);

it.skipIf(hindrance !== null)(
  "cuts are silent, of one direction where that is meant, counted, and heal",
  async () => {
    const kit = join(import.meta.dirname, "../lab/chaos/network.testkit.ts");
    const [found] = await once(spawnInOwnNetwork(process.execPath, [kit]), "message");
    expect(found).toEqual({
      calm: [true, true, 0],
      cut: [false, false, 4],
      // h1 is still not heard, and hears again: the cut that is left has one direction.
      oneWay: [false, true, 1],
      healed: [true, true, 0],
      lossy: [true, true, 1],
      slow: [true, true, 1],
      end: [true, true, 0],
    });
  },
);
