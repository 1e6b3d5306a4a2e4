"""Who rents machines. One package each: `api` (the calls), `translate` (pure: its words to ours), `provider`."""
