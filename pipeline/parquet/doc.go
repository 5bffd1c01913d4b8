// Package parquet exports transactions and the rollups as Apache Parquet, laid out as
// Hive partitions by month, for engines that read such files at once: DuckDB, Spark,
// Trino, BigQuery.
//
// An export is one consistent snapshot. Its files have names that say which state of
// a month they hold, so that a month that has not changed since the last export is
// left as it is, and one that has gets a new file beside the old one. manifest.json, which
// names every file with its rows, sums and checksum, is written last and in one piece:
// it is the export: until it is replaced, its readers see the export before, complete. What the new manifest does not name is removed after it; what a killed export
// has left is removed by the next one.
//
// The same data gives the same bytes, under the same [Format].
package parquet
