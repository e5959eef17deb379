"""What one batch of runs does: one module a task."""
