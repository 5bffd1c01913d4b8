// Reads an export with the statements of docs/operations.md, and compares every table
// with PostgreSQL.
//
//   node main.mjs LAKE OPERATIONS.md EXPECTED
//
// EXPECTED has a line of JSON for each table and month: the counts and sums of PostgreSQL.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";

const [lake, operations, expected] = process.argv.slice(2);
const connection = await (await DuckDBInstance.create(":memory:")).connect();

async function rows(sql) {
  let last = [];
  const statements = await connection.extractStatements(sql);
  for (let i = 0; i < statements.count; i++) {
    const result = await (await statements.prepare(i)).run();
    last = await result.getRowObjectsJson();
  }
  return last;
}

// The first statements of the section on the export, with the path of this export.
const section = readFileSync(operations, "utf8").split("\n## Parquet export\n")[1];
const printed = section.match(/```sql\n(SET VARIABLE lake[^`]*)```/)[1];
assert.match(printed, /'\/data\/lake'/);
const here = (sql) => sql.replace("'/data/lake'", `'${lake}'`);

const want = readFileSync(expected, "utf8").trim().split("\n").map((line) => JSON.parse(line));
assert.deepEqual(
  (await rows(here(printed))).map((r) => [r.month, Number(r.transactions), r.total_amount]),
  want.filter((w) => w.table === "transactions").map((w) => [w.month, w.rows, w.sum]),
);

// Every table: column types, counts and sums.
const types = {
  transactions: { id: "BIGINT", transaction_id: "VARCHAR", user_id: "INTEGER", amount: "DECIMAL(18,4)", transaction_date: "DATE", file_id: "BIGINT", line: "BIGINT", month: "DATE" },
  user_months: { user_id: "INTEGER", total_transactions: "BIGINT", total_amount: "DECIMAL(28,4)", month: "DATE" },
  daily_totals: { transaction_date: "DATE", total_transactions: "BIGINT", total_amount: "DECIMAL(28,4)", version: "BIGINT", file_id: "BIGINT", month: "DATE" },
  user_summary: { user_id: "INTEGER", total_transactions: "BIGINT", total_amount: "DECIMAL(28,4)", version: "BIGINT", file_id: "BIGINT" },
};
for (const [table, columns] of Object.entries(types)) {
  const monthly = "month" in columns;
  const from = `read_parquet('${lake}/${table}/${monthly ? "*/" : ""}*.parquet', hive_partitioning = ${monthly})`;
  const described = await rows(`DESCRIBE SELECT * FROM ${from}`);
  assert.deepEqual(Object.fromEntries(described.map((c) => [c.column_name, c.column_type])), columns, table);
  const [sum, count, minimum, maximum, key] =
    table === "transactions"
      ? ["amount", "count(*)", "min(amount)", "max(amount)", "min(transaction_id) || max(transaction_id) || count(DISTINCT transaction_id)"]
      : ["total_amount", "sum(total_transactions)", "min(total_amount)", "max(total_amount)", "count(*)"];
  const got = await rows(`SELECT ${monthly ? "month" : "NULL AS month"}, ${count} AS n, sum(${sum}) AS s, ${minimum} AS minimum, ${maximum} AS maximum, ${key} AS key
    FROM ${from} GROUP BY 1 ORDER BY 1`);
  assert.deepEqual(
    got.map((r) => [r.month, Number(r.n), r.s, r.minimum, r.maximum, String(r.key)]),
    want.filter((w) => w.table === table).map((w) => [w.month, w.rows, w.sum, w.minimum, w.maximum, w.key]),
    table,
  );
  // Statistics exist, which engines use to skip row groups.
  const [statistics] = await rows(`SELECT count(*) AS chunks, count(stats_min_value) AS minimum, count(stats_max_value) AS maximum,
    sum(stats_null_count) AS nulls, bool_and(compression = 'ZSTD') AS zstd
    FROM parquet_metadata('${lake}/${table}/${monthly ? "*/" : ""}*.parquet')`);
  assert.deepEqual([statistics.minimum, statistics.maximum, Number(statistics.nulls), statistics.zstd], [statistics.chunks, statistics.chunks, 0, true], table);
}

// Prints the size relative to Parquet files that DuckDB writes for the same rows, with
// both versions of its encodings.
const own = mkdtempSync(join(tmpdir(), "tally-lake-"));
try {
  const { files } = JSON.parse(readFileSync(join(lake, "manifest.json"), "utf8"));
  for (const table of Object.keys(types)) {
    const mine = files.filter((f) => f.table === table).map((f) => join(lake, f.path));
    const bytes = (paths) => paths.reduce((sum, path) => sum + statSync(path).size, 0);
    const sizes = [];
    for (const version of ["V1", "V2"]) {
      const to = join(own, `${table}-${version}.parquet`);
      await rows(`COPY (SELECT * FROM read_parquet([${mine.map((path) => `'${path}'`)}], hive_partitioning = false))
        TO '${to}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION ${version})`);
      sizes.push((bytes(mine) / bytes([to])).toFixed(2));
    }
    console.log(`${table}: ${bytes(mine)} bytes, ${sizes[0]} and ${sizes[1]} times DuckDB's own, V1 and V2`);
  }
} finally {
  rmSync(own, { recursive: true });
}
console.log(`${want.length} months of ${Object.keys(types).length} tables: DuckDB and PostgreSQL agree`);
