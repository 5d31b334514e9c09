"""Durable data-lake orchestration on Ray: Delta tables kept exactly in step with object storage."""
