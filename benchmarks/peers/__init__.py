"""What others would run in the agent's place: scripts that need nothing of ours."""
