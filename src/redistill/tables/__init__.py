"""From metrics and predictions to tables: aggregation, statistics, rendering."""
