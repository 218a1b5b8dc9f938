/** `baton lab …`: labs that live on in the background. */
import { writeFileSync } from "node:fs";
import { BatonError, type Flavour } from "@baton/contracts";
import { type LabStatus, labCommand, labDown, labStatus, labUp, type NodeCommand } from "@baton/lab";
import { Exit } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";
import { labConfig, labLines } from "../view/lab-view.ts";

interface UpOptions {
  name: string;
  flavour: Flavour;
  nodes: number;
  nats: string;
  acks: number;
  output?: string;
  json?: true;
}

const colours = (): Paint => paint(wantsColour(process.stdout, process.env));

export async function up(o: UpOptions): Promise<void> {
  const interrupt = onInterrupt(() => undefined);
  try {
    const lab = await labUp({
      name: o.name,
      flavour: o.flavour,
      nodes: o.nodes,
      natsServers: Number(o.nats) as 0 | 1 | 3,
      acks: o.acks,
      signal: interrupt.signal,
      onProgress: (line) => process.stderr.write(`${line}\n`),
    });
    if (o.output !== undefined) save(o.output, labConfig(lab));
    print([lab], o.json);
    if (o.output !== undefined && !o.json)
      console.log(`\n${o.output} is a configuration for it: baton up -c ${o.output}`);
  } catch (error) {
    if (interrupt.signal.aborted) throw new Exit(130);
    throw error;
  } finally {
    interrupt.release();
  }
}

export async function down(o: { name: string }): Promise<void> {
  await labDown(o.name);
}

/** `node` may be `primary`: whichever takes writes now. */
export async function command(verb: NodeCommand, node: string, o: { name: string }): Promise<void> {
  const name = node === "primary" ? await primaryOf(o.name) : node;
  print([await labCommand(o.name, verb, name)], undefined);
}

export async function status(o: { name?: string; json?: true }): Promise<void> {
  const labs = await labStatus(o.name);
  if (labs.length === 0 && !o.json) console.log("No lab is up. baton lab up starts one.");
  else print(labs, o.json);
}

async function primaryOf(lab: string): Promise<string> {
  const [found] = await labStatus(lab);
  const primary = found?.nodes.find((n) => n.primary);
  if (primary) return primary.name;
  throw new BatonError("E_NOT_FOUND", {
    place: `lab ${lab}`,
    message: "No node of it takes writes now.",
    remedy: "Name a node; baton lab status shows them.",
  });
}

function print(labs: readonly LabStatus[], json: true | undefined): void {
  if (json) console.log(JSON.stringify(labs, null, 2));
  else for (const lab of labs) for (const line of labLines(lab, colours())) console.log(line);
}

function save(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw new BatonError("E_STORE", {
      place: file,
      message: `It cannot be written (${(error as NodeJS.ErrnoException).code}).`,
      remedy:
        "Name a file that does not exist yet, in a folder that does. The lab is up; baton lab down ends it.",
      cause: error,
    });
  }
}
