/** `node --import plant-hook.ts`, with BATON_PLANT naming a bug of plants.ts: this process has it. */
import { registerHooks } from "node:module";
import { PLANTS, type PlantName } from "./plants.ts";

const { file, find, instead } = PLANTS[process.env.BATON_PLANT as PlantName];

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(file)) return loaded;
    const text = Buffer.from(loaded.source as Uint8Array).toString("utf8");
    // A plant that no longer fits would make the test of the test pass for nothing.
    if (!text.includes(find)) throw new Error(`${url} has no ${find} any more: correct lab/chaos/plants.ts`);
    return { ...loaded, source: text.replace(find, instead) };
  },
});
