// This program tests the types that openapi-typescript generates from the OpenAPI
// document. It queries a server that has loaded a file, and checks that the answers are
// consistent. .ci/run generates the types.
//
//     node main.js ADDRESS USER_ID

import createClient from "openapi-fetch";
import type { components, paths } from "./tally.js";

type Summary = components["schemas"]["Summary"];
type Run = components["schemas"]["Run"];

declare const process: { argv: string[] };
const [, , address, user] = process.argv;
if (!address || !user) throw new Error("usage: node main.js ADDRESS USER_ID");
const user_id = Number(user);
const unknownUser = 2147483647; // a user without transactions

const client = createClient<paths>({ baseUrl: address });

// Each of these must be a compile error, so that no type is any.
// @ts-expect-error a summary has all of its keys
export const incomplete: Summary = { user_id, total_transactions: 1, total_amount: 1 };
// @ts-expect-error amounts are numbers
export const text: Summary["total_amount"] = "1.00";
// @ts-expect-error a run is of one of three kinds
export const kind: Run["kind"] = "weekly";
// @ts-expect-error a run may not have ended
export const ended: string = ({} as Run).finished_at;
export const wrong = () =>
  // @ts-expect-error no such parameter
  client.GET("/totals", { params: { query: { per: "month" } } });

function equal(what: string, got: unknown, want: unknown): void {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: ${a}, and not ${b}`);
}

/** Amounts have at most four decimals; counted in those, sums are exact. */
function sum(amounts: number[]): number {
  return amounts.reduce((total, amount) => total + Math.round(amount * 10_000), 0) / 10_000;
}

function found<T>(answer: { data?: T; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.url}: ${answer.response.status}`);
  return answer.data;
}

/** Follows the cursors to the end. */
async function all<T>(page: (cursor?: string) => Promise<{ items: T[]; next_cursor?: string }>): Promise<T[]> {
  const items: T[] = [];
  let pages = 0;
  for (let cursor: string | undefined; pages === 0 || cursor; pages++) {
    const answer = await page(cursor);
    items.push(...answer.items);
    cursor = answer.next_cursor;
  }
  if (pages < 2) throw new Error("all came in one page, so no cursor was followed");
  return items;
}

const summary = found(await client.GET("/transactions/{user_id}/summary", { params: { path: { user_id } } }));
equal("keys", Object.keys(summary), ["user_id", "total_transactions", "total_amount", "average_transaction_amount"]);

const transactions = await all(async (cursor) =>
  found(
    await client.GET("/transactions/{user_id}", {
      params: { path: { user_id }, query: { limit: 3, ...(cursor && { cursor }) } },
    }),
  ),
);
equal("transactions", transactions.length, summary.total_transactions);
equal("their sum", sum(transactions.map((t) => t.amount)), summary.total_amount);

const several = found(await client.GET("/summaries", { params: { query: { user_id: [unknownUser, user_id] } } }));
equal("summaries", several, { items: [summary], missing: [unknownUser] });

const months = await all(async (cursor) =>
  found(await client.GET("/totals", { params: { query: { by: "month", limit: 5, ...(cursor && { cursor }) } } })),
);
const runs = found(await client.GET("/runs", {})).items;
const lists = runs.map(async ({ id }) => found(await client.GET("/runs/{id}/files", { params: { path: { id } } })).items);
const files = (await Promise.all(lists)).flat();
equal("loaded rows", sum(files.map((f) => f.loaded)), sum(months.map((m) => m.total_transactions)));
equal("their sum", sum(files.map((f) => f.total_amount)), sum(months.map((m) => m.total_amount)));

const missing = await client.GET("/transactions/{user_id}/summary", { params: { path: { user_id: unknownUser } } });
equal("no user", [missing.error?.type, missing.error?.status], ["/problems/no-transactions", 404]);
const refused = await client.GET("/runs", { params: { query: { limit: 0 } } });
equal("no limit", refused.error?.errors?.[0]?.location, "query.limit");

console.log("the TypeScript client agrees with the server");
