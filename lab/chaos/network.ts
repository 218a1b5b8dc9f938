/**
 * A network of hosts on this machine: each host is a network namespace, and all are joined by a hub that routes between them. What is
 * cut is cut in the hub, by a routing rule for one direction of one pair; so nothing but `ip` and `tc` is needed.
 *
 * The process that opens it must be in a network and a mount namespace of its own (own-network.ts). It is itself the host `desk`. Then
 * nothing of this can be seen outside, and the kernel takes it all away when the last process in it has ended.
 */
import { execFile, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { promisify } from "node:util";
import { LabError } from "../lab-error.ts";
import type { Place } from "../place.ts";

const run = promisify(execFile);
const commandTimeoutMs = 10_000;
const hub = "hub";
/** Where clients and the director of a chaos run are. */
export const DESK = "desk";
const rulePreference = "100";

/** A line so narrow that packets queue for tens of milliseconds and some find no room. */
const slowLine = ["rate", "1500kbit", "burst", "8kb", "latency", "60ms"];

export class Network {
  readonly #subnets = new Map<string, number>();
  /** How many faults want each cut: it is mended when the last of them ends. */
  readonly #cuts = new Map<string, number>();
  readonly #lines = new Map<string, "lossy" | "slow">();

  /** `hosts` without the desk; names of up to 15 letters and digits, none of which `ip` has a meaning for. */
  static async open(hosts: readonly string[]): Promise<Network> {
    const network = new Network();
    await network.#open(hosts);
    return network;
  }

  get hosts(): string[] {
    return [...this.#subnets.keys()];
  }

  /** Where a program runs that is started on this host. */
  place(host: string): Place {
    return { host: this.address(host), enter: ["nsenter", `--net=/run/netns/${host}`, "--"] };
  }

  address(host: string): string {
    return `10.66.${this.#subnet(host)}.2`;
  }

  /** From now on nothing that `from` sends to `to` arrives, and nobody is told. Returns the way back. */
  async cut(from: readonly string[], to: readonly string[]): Promise<() => Promise<void>> {
    const pairs = from.flatMap((a) => to.filter((b) => b !== a).map((b) => `${a} ${b}`));
    for (const pair of pairs) {
      const wanted = this.#cuts.get(pair) ?? 0;
      this.#cuts.set(pair, wanted + 1);
      if (wanted === 0) await ip(["-n", hub, "rule", "add", ...this.#rule(pair)]);
    }
    return async () => {
      for (const pair of pairs.splice(0)) {
        const wanted = (this.#cuts.get(pair) ?? 1) - 1;
        this.#cuts.set(pair, wanted);
        if (wanted === 0) await ip(["-n", hub, "rule", "del", ...this.#rule(pair)]);
      }
    };
  }

  /** The same in both directions. */
  async part(one: readonly string[], other: readonly string[]): Promise<() => Promise<void>> {
    const back = [await this.cut(one, other), await this.cut(other, one)];
    return async () => {
      for (const each of back) await each();
    };
  }

  /** Each eighth packet from and to the host is lost. A host has one bad line at a time. */
  async lossy(host: string): Promise<() => Promise<void>> {
    this.#takeLine(host, "lossy");
    await tc(["-n", hub, "qdisc", "add", "dev", host, "clsact"]);
    for (const way of ["ingress", "egress"]) {
      // The header's identification counts a connection's packets: one in eight ends in these three bits. (Not in
      // zeros: so do all answers to a SYN, and then nobody could connect.)
      const eighth = ["u32", "match", "u16", "0x0003", "0x0007", "at", "4"];
      const away = ["action", "mirred", "egress", "redirect", "dev", "nowhere"];
      await tc(["-n", hub, "filter", "add", "dev", host, way, "protocol", "ip", ...eighth, ...away]);
    }
    return async () => {
      if (this.#lines.delete(host)) await tc(["-n", hub, "qdisc", "del", "dev", host, "clsact"]);
    };
  }

  /** From and to the host everything goes through a narrow line, with a queue before it. */
  async slow(host: string): Promise<() => Promise<void>> {
    this.#takeLine(host, "slow");
    await tc(["-n", hub, "qdisc", "add", "dev", host, "root", "tbf", ...slowLine]);
    await tc(["-n", host, "qdisc", "add", "dev", "eth0", "root", "tbf", ...slowLine]);
    return async () => {
      if (!this.#lines.delete(host)) return;
      await tc(["-n", hub, "qdisc", "del", "dev", host, "root"]);
      await tc(["-n", host, "qdisc", "del", "dev", "eth0", "root"]);
    };
  }

  /** What is still in force, as the kernel says: nothing, between two rounds. */
  async inForce(): Promise<string[]> {
    const rules = await ip(["-n", hub, "rule", "list"]);
    const cuts = rules.split("\n").filter((line) => line.includes("blackhole"));
    return [
      ...cuts.map((line) => line.trim()),
      ...[...this.#lines].map(([host, line]) => `${host}: ${line}`),
    ];
  }

  #takeLine(host: string, line: "lossy" | "slow"): void {
    this.#subnet(host);
    const before = this.#lines.get(host);
    if (before !== undefined) throw new Error(`the line of ${host} is ${before} already`);
    this.#lines.set(host, line);
  }

  #rule(pair: string): string[] {
    const [from = "", to = ""] = pair.split(" ");
    return ["pref", rulePreference, "from", this.address(from), "to", this.address(to), "blackhole"];
  }

  #subnet(host: string): number {
    const subnet = this.#subnets.get(host);
    if (subnet !== undefined) return subnet;
    throw new LabError("unknown-node", {
      found: host,
      expected: `one of ${this.hosts.join(", ")}`,
      remedy: "name a host of this network",
    });
  }

  async #open(hosts: readonly string[]): Promise<void> {
    mkdirSync("/run/netns", { recursive: true });
    await run("mount", ["-t", "tmpfs", "baton-chaos", "/run/netns"], { timeout: commandTimeoutMs });
    await ip(["link", "set", "lo", "up"]);
    await ip(
      ["-batch", "-"],
      [hub, ...hosts].map((name) => `netns add ${name}`),
    );
    await ip(
      ["-n", hub, "-batch", "-"],
      ["link set lo up", "link add nowhere type veth peer name nothing", "link set nowhere up"],
    );
    await run("nsenter", [`--net=/run/netns/${hub}`, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], {
      timeout: commandTimeoutMs,
    });
    for (const [index, host] of [DESK, ...hosts].entries()) {
      const subnet = index + 1;
      const netns = host === DESK ? String(process.pid) : host;
      await ip(
        ["-n", hub, "-batch", "-"],
        [
          `link add ${host} type veth peer name eth0 netns ${netns}`,
          `addr add 10.66.${subnet}.1/30 dev ${host}`,
          `link set ${host} up`,
        ],
      );
      await ip(
        [...(host === DESK ? [] : ["-n", host]), "-batch", "-"],
        [
          "link set lo up",
          `addr add 10.66.${subnet}.2/30 dev eth0`,
          "link set eth0 up",
          `route add default via 10.66.${subnet}.1`,
        ],
      );
      this.#subnets.set(host, subnet);
    }
  }
}

/** Runs `ip`, with `batch` on its standard input; returns what it says. */
function ip(args: readonly string[], batch: readonly string[] = []): Promise<string> {
  return tool("ip", args, batch);
}

function tc(args: readonly string[]): Promise<string> {
  return tool("tc", args, []);
}

function tool(program: string, args: readonly string[], batch: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], timeout: commandTimeoutMs });
    let said = "";
    let complained = "";
    child.stdout.on("data", (text) => {
      said += text;
    });
    child.stderr.on("data", (text) => {
      complained += text;
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(batch.map((line) => `${line}\n`).join(""));
    const failed = (found: string) =>
      fail(
        new LabError("network-failed", {
          found: `${program} ${args.join(" ")}: ${found}`,
          expected: "a change of the lab's own network",
          remedy:
            "see that this kernel has network namespaces, veth, policy routing and tc's u32, mirred and tbf",
        }),
      );
    child.once("error", (error) => failed(error.message));
    child.once("close", (code) =>
      code === 0 ? done(said) : failed(complained.trim() || `exit code ${code}`),
    );
  });
}
