"""What users test with: run directories made up, without running anything."""
