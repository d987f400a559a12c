"""Looking back on finished runs, and handing them on: report, compare, export."""
