/**
 * Run in a network of its own (own-network.ts): builds a network of two hosts with a listener on each, and tells over IPC what gets
 * through, before, during and after each fault.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Network } from "./network.ts";

/** Tells what comes, and sends a packet where it is told to. */
const host = `
const { createSocket } = require("node:dgram");
const socket = createSocket("udp4");
socket.on("message", (text, from) => process.send(String(text)));
socket.bind(7000, "0.0.0.0", () => process.send("up"));
process.on("message", ({ to, text }) => socket.send(text, 7000, to));
process.on("disconnect", () => process.exit());`;

const silentMs = 300;
const network = await Network.open(["h1", "h2"]);
const children: Record<string, ChildProcess> = {};
for (const name of ["h1", "h2"]) {
  const [command = "", ...enter] = network.place(name).enter;
  const child = spawn(command, [...enter, process.execPath, "-e", host], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  await once(child, "message");
  children[name] = child;
}

/** Whether a packet from one arrives at the other; tried again, since the first may wait for an address. */
async function hears(to: string, from: string): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const heard = once(children[to] as ChildProcess, "message", { signal: AbortSignal.timeout(silentMs) });
    children[from]?.send({ to: network.address(to), text: "x" });
    if (await heard.then(() => true).catch(() => false)) return true;
  }
  return false;
}

/** Does h2 hear h1, and h1 h2; and how many cuts and bad lines the kernel has in force. */
async function look(): Promise<unknown[]> {
  return [await hears("h2", "h1"), await hears("h1", "h2"), (await network.inForce()).length];
}

const found: Record<string, unknown[]> = { calm: await look() };
const twice = [await network.part(["h1"], ["h2", "desk"]), await network.cut(["h1"], ["h2"])];
found.cut = await look();
await twice[0]?.();
found.oneWay = await look();
await twice[1]?.();
found.healed = await look();
const lossy = await network.lossy("h2");
found.lossy = await look();
await lossy();
const slow = await network.slow("h2");
found.slow = await look();
await slow();
found.end = await look();
for (const child of Object.values(children)) child.disconnect();
process.send?.(found);
process.disconnect();
