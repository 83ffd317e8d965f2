"""Pure rules, one file a theme: ``check(facts)`` yields findings."""
