"""May a run go on? Conditions, three-valued verdicts with their evidence, approvals, access decisions."""
