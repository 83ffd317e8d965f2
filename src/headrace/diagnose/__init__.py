"""What is wrong: facts, pure rules, findings with a remedy."""
