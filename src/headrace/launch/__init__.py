"""How ranks start: a lead a run, an agent a node, and the contract ranks are started under."""
