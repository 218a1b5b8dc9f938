/** Fault: the resolver fails, hangs, is slow or changes its mind. Expectation: the last address that it gave goes on to serve. */
import type { LookupAddress } from "node:dns";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Addresses } from "./addresses.ts";
import { MysqlFault } from "./fault.ts";

type Done = (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void;

const at = (...list: string[]): LookupAddress[] => list.map((address) => ({ address, family: 4 }));
const failure = (code: string) => Object.assign(new Error(`getaddrinfo ${code}`), { code });

/** A resolver whose every answer is given by the test. */
class Resolver {
  readonly asked: { name: string; done: Done }[] = [];
  readonly addresses = new Addresses((name, _, done) => void this.asked.push({ name, done }));

  /** What a connect with a second for everything is told. */
  find(name = "db1"): Promise<LookupAddress[]> {
    return new Promise((resolve, reject) =>
      this.addresses.lookup(1_000)(name, { all: true }, (error, found) =>
        error ? reject(error) : resolve(found as LookupAddress[]),
      ),
    );
  }

  answers(found: LookupAddress[]): void {
    for (const { done } of this.asked.splice(0)) done(null, found);
  }

  fails(code: string): void {
    for (const { done } of this.asked.splice(0)) done(failure(code), []);
  }

  async knowing(...list: string[]): Promise<this> {
    const found = this.find();
    this.answers(at(...list));
    await found;
    return this;
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Whether it has come, without any time passing. */
async function come(promise: Promise<unknown>): Promise<boolean> {
  let has = false;
  void promise.finally(() => (has = true)).catch(() => undefined);
  await vi.advanceTimersByTimeAsync(0);
  return has;
}

describe("the resolver", () => {
  it.each(["EAI_AGAIN", "ENOTFOUND", "EAI_FAIL"])("fails with %s: the last addresses serve", async (code) => {
    const resolver = await new Resolver().knowing("10.0.0.1", "10.0.0.2");
    const found = resolver.find();
    resolver.fails(code);
    expect(await found).toEqual(at("10.0.0.1", "10.0.0.2"));
  });

  it("fails for a name of which nothing is known: an error that names it, and speaks of no death", async () => {
    const resolver = await new Resolver().knowing("10.0.0.1");
    const found = resolver.find("db2");
    resolver.fails("EAI_AGAIN");
    const fault: unknown = await found.catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(MysqlFault);
    expect(fault).toMatchObject({
      outcome: "error",
      errno: null,
      message: "the name db2 cannot be resolved (EAI_AGAIN)",
    });
  });

  it("hangs: who asks first waits a quarter of a second, who asks later does not, and one question is out", async () => {
    const resolver = await new Resolver().knowing("10.0.0.1");
    const first = resolver.find();
    await vi.advanceTimersByTimeAsync(249);
    expect(await come(first)).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await first).toEqual(at("10.0.0.1"));
    const later = resolver.find();
    expect(await come(later)).toBe(true);
    expect(await later).toEqual(at("10.0.0.1"));
    expect(resolver.asked).toHaveLength(1);
  });

  it("hangs and a connect has little time: its name is waited for a quarter of that", async () => {
    const resolver = await new Resolver().knowing("10.0.0.1");
    const found = new Promise((resolve) =>
      resolver.addresses.lookup(100)("db1", {}, (_, one) => resolve(one)),
    );
    await vi.advanceTimersByTimeAsync(25);
    expect(await found).toBe("10.0.0.1");
  });

  it("hangs for a name of which nothing is known: the connect's own timer ends that", async () => {
    const resolver = new Resolver();
    const found = resolver.find();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await come(found)).toBe(false);
  });

  it("answers late: the next is told so", async () => {
    const resolver = await new Resolver().knowing("10.0.0.1");
    const found = resolver.find();
    await vi.advanceTimersByTimeAsync(250);
    expect(await found).toEqual(at("10.0.0.1"));
    resolver.answers(at("10.0.0.9"));
    const next = resolver.find();
    resolver.fails("EAI_AGAIN");
    expect(await next).toEqual(at("10.0.0.9"));
  });

  it("says that a name has moved: followed at once", async () => {
    const resolver = await new Resolver().knowing("10.0.0.1");
    const found = resolver.find();
    resolver.answers(at("10.0.0.9"));
    expect(await found).toEqual(at("10.0.0.9"));
  });

  it("is asked for one name's sake by all at once, and for each name by itself", async () => {
    const resolver = new Resolver();
    const found = [resolver.find(), resolver.find(), resolver.find("db2")];
    expect(resolver.asked.map(({ name }) => name)).toEqual(["db1", "db2"]);
    resolver.answers(at("10.0.0.1"));
    expect(await Promise.all(found)).toEqual([at("10.0.0.1"), at("10.0.0.1"), at("10.0.0.1")]);
  });
});

it("a thousand names are remembered, the one not asked for the longest is not", async () => {
  const resolver = new Resolver();
  for (let i = 0; i <= 1_000; i++) {
    const found = [resolver.find(`db${i}`), resolver.find("db0")];
    resolver.answers(at("10.0.0.1"));
    await Promise.all(found);
  }
  const known = async (name: string) => {
    const found = resolver.find(name);
    resolver.fails("EAI_AGAIN");
    return found.then(
      () => true,
      () => false,
    );
  };
  expect([await known("db0"), await known("db1"), await known("db2"), await known("db1000")]).toEqual([
    true,
    false,
    true,
    true,
  ]);
});

it("an address is no name: the resolver is not asked", async () => {
  vi.useRealTimers();
  const resolver = new Resolver();
  const socket = connect({ host: "127.0.0.1", port: 1, lookup: resolver.addresses.lookup(1_000) });
  const code = await new Promise((resolve) =>
    socket.once("error", (e: NodeJS.ErrnoException) => resolve(e.code)),
  );
  expect([code, resolver.asked.length]).toEqual(["ECONNREFUSED", 0]);
});
