/**
 * `node --import plant-hook.ts`: this process counts one acker fewer than N−k+1 as a fence, to see that chaos finds it. Deciders and executors share
 * that rule, so that it cannot be planted in front of one of them, as lab/simulation/plant.ts does; and product code has no switch for bugs: the file's text
 * is changed when it is loaded.
 */
import { registerHooks } from "node:module";

const file = "/libs/protocol/fence.ts";
const right = "return ackers - acks + 1;";
const wrong = "return ackers - acks;";

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(file)) return loaded;
    const text = Buffer.from(loaded.source as Uint8Array).toString("utf8");
    // A plant that no longer fits would make the test of the test pass for nothing.
    if (!text.includes(right)) throw new Error(`${url} has no "${right}" any more: correct this hook`);
    return { ...loaded, source: text.replace(right, wrong) };
  },
});
