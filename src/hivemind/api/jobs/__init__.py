"""Jobs, runs and what belongs to them, as the API shows them and lets them be steered."""
