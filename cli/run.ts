/** One run of the command: arguments in, exit code out. Every error ends here, as one line on stderr. */

import { commandLine, UsageError } from "./command-line.ts";
import { Exit, failureOf } from "./failure.ts";
import { paint, wantsColour } from "./view/colour.ts";

export async function run(args: string[]): Promise<number> {
  // `baton history | head`: whoever reads has seen enough.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  const red = paint(wantsColour(process.stderr, process.env)).red;
  try {
    await commandLine().parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof Exit) return error.exitCode;
    if (error instanceof UsageError) {
      if (error.cause.exitCode === 0) return 0;
      // A command group alone: its help was the answer.
      if (error.cause.code === "commander.help") return 2;
      process.stderr.write(`${red(usageLine(error))}\n`);
      return 2;
    }
    const failure = failureOf(error);
    process.stderr.write(`${red(failure.line)}\n`);
    if (process.env.BATON_DEBUG) console.error(error);
    return failure.exitCode;
  }
}

/** Commander's message, in the form of all of Baton's errors. */
function usageLine(error: UsageError): string {
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const said = first.charAt(0).toUpperCase() + first.slice(1);
  const hint = rest.join(" ").replace(/^\(|\)$/g, "");
  const remedy = hint === "" ? `${error.command} --help names what there is.` : hint;
  return `E_USAGE at ${error.command}: ${said.endsWith(".") ? said : `${said}.`} ${remedy}`;
}
