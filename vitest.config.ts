/**
 * Two kinds of test files. Those that start servers (mysqld, nats-server, whole systems) come last, three at a time: on two cores
 * that uses the time in which they wait, and more only make each other slow. All the others are quick and come first.
 */
import { globSync, readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const files = globSync("{libs,services,cli,lab,test}/**/*.test.ts", {
  cwd: import.meta.dirname,
  exclude: ["**/node_modules/**"],
}).sort();

/** A file is known as one that starts servers by what it uses to start them. */
const starts = /startLab|labUp|startSystem|startEmbeddedNats|nats-server|mysqld|@baton\/lab|startNats/;
const withServers = files.filter(
  (file) => file.startsWith("test/") || starts.test(readFileSync(`${import.meta.dirname}/${file}`, "utf8")),
);
const quick = files.filter((file) => !withServers.includes(file));

/** Whole systems take minutes: begun first, they do not keep one core busy alone at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(specifications);
    const isLong = ({ moduleId }: TestSpecification) => moduleId.startsWith(`${import.meta.dirname}/test/`);
    return [...sorted.filter(isLong), ...sorted.filter((specification) => !isLong(specification))];
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "quick",
          include: quick.length > 0 ? quick : ["none"],
          testTimeout: 20_000,
          hookTimeout: 20_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "servers",
          include: withServers.length > 0 ? withServers : ["none"],
          testTimeout: 120_000,
          // Servers under load need longer than a second to show what is waited for.
          expect: { poll: { timeout: 10_000 } },
          hookTimeout: 120_000,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
