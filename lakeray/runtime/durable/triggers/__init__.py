"""Runs that begin by themselves: schedules, triggers, backfills, and who is told of what became of them."""
