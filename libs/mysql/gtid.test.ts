/** GTID sets, pure and against the server's own functions. */
import { type Lab, startLab } from "@baton/lab";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GtidSet, GtidSyntaxError } from "./gtid.ts";
import { openSession, type Session } from "./session.ts";

const U = "aaaaaaaa-0000-0000-0000-000000000001";
const V = "bbbbbbbb-0000-0000-0000-000000000002";

describe("parse", () => {
  it("reads what the server prints", () => {
    const text = `${U}:1-2:aa:1:tag_b:1-3:5:zz:7,${V}:4`;
    expect(GtidSet.parse(text).toString()).toBe(text);
    expect(GtidSet.parse(text.replaceAll(",", ",\n")).toString()).toBe(text);
  });

  it("reads what people write, as the server does", () => {
    const text = ` ${U.toUpperCase()}:Tag_b:1-3 : 5,, ${U}:1 - 2:3:tag_b:4,${V}:9-7, `;
    expect(GtidSet.parse(text).toString()).toBe(`${U}:1-3:tag_b:1-5`);
  });

  it("keeps numbers beyond 2^53 exact", () => {
    const a = GtidSet.parse(`${U}:1-9223372036854775806`);
    expect(a.subtract(GtidSet.parse(`${U}:9007199254740993`)).toString()).toBe(
      `${U}:1-9007199254740992:9007199254740994-9223372036854775806`,
    );
  });

  it.each([
    [`${U}`, 36],
    [`${U}:`, 37],
    [`${U}:tag`, 40],
    [`${U}:tag:x:1`, 41],
    [`${U}:0-3`, 37],
    [`${U}:1-9223372036854775807`, 37],
    [`${U}:1,not-a-uuid:1`, 39],
    [`${U}:1-2-3`, 37],
    [`${U}:1:-5`, 39],
    [`${U}:9tag:1`, 37],
    [`${U}:${"a".repeat(33)}:1`, 37],
  ])("refuses %j and says where", (text, offset) => {
    expect.assertions(2);
    try {
      GtidSet.parse(text);
    } catch (error) {
      expect(error).toBeInstanceOf(GtidSyntaxError);
      expect((error as GtidSyntaxError).offset).toBe(offset);
    }
  });

  it("reads and combines sets of very many intervals, for which anything but linear work would take minutes", () => {
    const n = 200_000;
    const odd = GtidSet.parse(`${U}:${Array.from({ length: n }, (_, i) => 2 * i + 1).join(":")}`);
    const all = GtidSet.parse(`${U}:1-${2 * n}`);
    const even = all.subtract(odd);
    expect([odd.count(), even.count()]).toEqual([n, n]);
    expect(odd.union(even).toString()).toBe(`${U}:1-${2 * n}`);
    expect(GtidSet.parse(even.toString()).equals(even)).toBe(true);
  });
});

/** Few UUIDs, tags and numbers, so that sets meet. */
const interval = fc
  .tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 6 }))
  .map(([start, more]) => (more === 0 ? `${start}` : `${start}-${start + more}`));
const item = fc
  .tuple(
    fc.constantFrom(U, V),
    fc.constantFrom("", ":a", ":tag_b"),
    fc.array(interval, { minLength: 1, maxLength: 5 }),
  )
  .map(([uuid, tag, intervals]) => `${uuid}${tag}:${intervals.join(":")}`);
const setText = fc.array(item, { maxLength: 5 }).map((items) => items.join(","));
const set = setText.map((text) => GtidSet.parse(text));

describe("the algebra", () => {
  it("holds", () => {
    fc.assert(
      fc.property(set, set, set, (a, b, c) => {
        expect(a.union(b).toString()).toBe(b.union(a).toString());
        expect(a.union(b).union(c).toString()).toBe(a.union(b.union(c)).toString());
        expect(a.subtract(b).union(a.intersect(b)).toString()).toBe(a.toString());
        expect(a.subtract(b).intersect(b).isEmpty()).toBe(true);
        expect(a.union(b).contains(a)).toBe(true);
        expect(a.contains(b)).toBe(a.union(b).equals(a));
        expect(a.union(b).count()).toBe(a.count() + b.subtract(a).count());
        expect(GtidSet.parse(a.toString()).equals(a)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("does not change its operands", () => {
    const a = GtidSet.parse(`${U}:1-5`);
    a.union(GtidSet.parse(`${U}:6`));
    a.subtract(GtidSet.parse(`${U}:1`));
    expect(a.toString()).toBe(`${U}:1-5`);
    expect(GtidSet.empty.isEmpty()).toBe(true);
  });
});

describe("beside the server", () => {
  let lab: Lab;
  let session: Session;
  beforeAll(async () => {
    lab = await startLab({ nodes: 1, natsServers: 0, replication: false });
    session = await openSession(lab.node("n1"), lab.accounts.baton, {
      connectTimeoutMs: 5_000,
      name: "baton-test",
    });
  });
  afterAll(async () => {
    session?.destroy();
    await lab?.stop();
  });

  it("agrees on text, difference, union and inclusion of thousands of random pairs", async () => {
    const pairs = fc.sample(fc.tuple(setText, setText), { numRuns: 3_000 });
    for (let i = 0; i < pairs.length; i += 500) {
      const batch = pairs.slice(i, i + 500);
      // The server has no union of its own: the set that it makes of both texts joined is one.
      const sql = batch
        .map(
          () =>
            "(SELECT GTID_SUBTRACT(?, '') a, GTID_SUBTRACT(?, ?) d, GTID_SUBTRACT(?, '') u, GTID_SUBSET(?, ?) s)",
        )
        .join(" UNION ALL ");
      const params = batch.flatMap(([a, b]) => [a, a, b, `${a},${b}`, b, a]);
      const rows = await session.query<{ a: string; d: string; u: string; s: number }>(sql, {
        params,
        deadlineMs: 30_000,
      });
      for (const [j, [a, b]] of batch.entries()) {
        const row = rows[j]!;
        const one = (text: string) => text.replaceAll("\n", "");
        const [A, B] = [GtidSet.parse(a), GtidSet.parse(b)];
        expect({
          a: A.toString(),
          d: A.subtract(B).toString(),
          u: A.union(B).toString(),
          s: A.contains(B),
        }).toEqual({
          a: one(row.a),
          d: one(row.d),
          u: one(row.u),
          s: Number(row.s) === 1,
        });
      }
    }
  });
});
