"""What makes large appends fast: customers remembered, tables of events looked at by columns, rows in large statements."""
