/** The `baton` command. What is slow to load is loaded by the command that needs it. */
import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Saves half of the start-up time and 20 MB a process; without a writable folder Node just goes without.
enableCompileCache(join(import.meta.dirname, "../node_modules/.cache/baton"));

const { run } = await import("./run.ts");
process.exit(await run(process.argv.slice(2)));
