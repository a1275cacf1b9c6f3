"""Engine, unit of work, column types, tables and migrations. Only this layer knows which database it is."""
