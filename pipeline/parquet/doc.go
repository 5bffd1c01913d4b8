// Package parquet exports transactions and the rollups as Apache Parquet, in Hive partitions
// by month, which DuckDB, Spark, Trino and BigQuery read directly.
//
// An export is one consistent snapshot. The name of a file depends on the state of its month:
// an unchanged month keeps its file, a changed one gets a new file beside the old one.
// manifest.json names every file with its rows, sum and checksum. It is written last and
// atomically, and it is the export: until it is replaced, its readers see the export before,
// complete. Files that the new manifest does not name are removed after it; those that a
// killed export left are removed by the next one.
//
// The same data gives the same bytes, under the same [Format].
package parquet
