"""Objects that a source has and its ledger lacks, cut into batches."""
