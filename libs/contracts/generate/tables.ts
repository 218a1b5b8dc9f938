/** docs/subjects.md: the language as tables for people. */
import { BUCKETS } from "../buckets.ts";
import { type CodeEntry, DIAGNOSES, ErrorCode, OUTCOMES_OF_DEATH, Outcome, REFUSALS } from "../codes.ts";
import { COMMANDS } from "../commands.ts";
import { commandSubject, MESSAGES, type MessageDefinition, STREAMS, SUBJECT_ROOT } from "../messages.ts";

const cell = (text: string) => text.replaceAll("|", "\\|").replace(/\s+/g, " ");
const row = (...cells: string[]) => `| ${cells.map(cell).join(" | ")} |`;
const table = (head: string[], rows: string[][]) =>
  [row(...head), `| ${head.map(() => "---").join(" | ")} |`, ...rows.map((r) => row(...r))].join("\n");
const schemaLink = (name: string) => `[${name}](schemas/${name}.json)`;
const days = (ms: number) => `${ms / 86_400_000} days`;

function subjects(): string {
  const rows = (Object.values(MESSAGES) as MessageDefinition[]).map((m) => [
    `\`${[SUBJECT_ROOT, m.type, ...m.tokens.map((t) => `<${t}>`)].join(".")}\``,
    m.carrier === "core" ? "core NATS" : `JetStream \`${m.carrier}\``,
    `${m.from} → ${m.to}`,
    m.what,
    schemaLink(m.type),
  ]);
  return table(["subject", "carried by", "from → to", "what", "schema"], rows);
}

function streams(): string {
  const rows = Object.entries(STREAMS).map(([name, s]) => [
    `\`${name}\``,
    s.subjects.map((x) => `\`${x}\``).join(", "),
    days(s.maxAgeMs),
    `${s.maxBytes / 2 ** 20} MiB`,
  ]);
  return table(["stream", "subjects", "kept for", "at most"], rows);
}

function commands(): string {
  const rows = Object.keys(COMMANDS).map((verb) => [
    `\`${commandSubject(verb)}\``,
    schemaLink(`command-${verb}-request`),
    schemaLink(`command-${verb}-reply`),
  ]);
  return table(["subject", "request", "reply"], rows);
}

function buckets(): string {
  const rows = Object.entries(BUCKETS).map(([name, b]) => [
    `\`${name}\``,
    `\`${b.key}\``,
    schemaLink(`bucket-${name.replace(/^baton_/, "")}`),
    b.writer,
    b.ttlS === null ? "never" : `after ${b.ttlS} s without renewal`,
  ]);
  return table(["bucket", "key", "value", "writer", "expires"], rows);
}

function codes(entries: Record<string, CodeEntry>): string {
  const rows = Object.entries(entries).map(([code, e]) => [`\`${code}\``, e.severity, e.meaning, e.action]);
  return table(["code", "severity", "what it means", "what happens, or what to do"], rows);
}

export function subjectsPage(): string {
  const outcomes = Outcome.options.map(
    (o) => `\`${o}\`${OUTCOMES_OF_DEATH.has(o) ? " (speaks of death)" : ""}`,
  );
  return `# Subjects, buckets and codes

Generated from \`libs/contracts\` by \`node libs/contracts/generate.ts\`: do not edit. The same for programs:
[asyncapi.json](asyncapi.json) and [schemas/](schemas/).

Every message is a CloudEvents 1.0 event in NATS binary mode: the body is JSON, the headers are
\`ce-specversion\` (\`1.0\`), \`ce-id\`, \`ce-source\` (\`baton/<service>/<instance>\`), \`ce-type\` (\`${SUBJECT_ROOT}.<type>\`),
\`ce-time\`, \`content-type\` (\`application/json\`) and \`traceparent\` (W3C; one trace per failure, from
diagnosis to alert). Ignore properties that you do not know: more may be added in v1. Names of clusters, nodes and
regions are lower-case letters, digits and inner hyphens, at most 63 characters.

## Subjects
${subjects()}

## Streams
What a stream keeps is kept for a time, read or not: a consumer of yours may join late and read it all.

${streams()}

## Commands
Requests over the NATS service API; any one instance that serves the command answers. A refusal is
${schemaLink("command-error")}, with the status also in the header \`Nats-Service-Error-Code\`.

${commands()}

## KV buckets
${buckets()}

## Diagnoses
${codes(DIAGNOSES)}

## Refusals
Why an operation was refused, rolled back or blocked.

${codes(REFUSALS)}

## Outcomes of a probe
${outcomes.join(", ")}.

## Errors
Codes of configuration, set-up and commands; each is printed with the place and the remedy. Exit code 2 for
\`E_USAGE\` and \`E_CONFIG_…\`, else 1.

${ErrorCode.options.map((c) => `\`${c}\``).join(", ")}.
`;
}
