"""The evaluation of each task, one file a task."""
