"""What would happen: traces replayed on the very code that schedules live runs."""
