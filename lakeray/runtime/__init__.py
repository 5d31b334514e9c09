"""What work runs on: Ray, here and nowhere else."""
