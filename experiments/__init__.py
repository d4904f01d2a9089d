"""What an experiment found: from the event log to a verdict, and simulated shoppers to try it on."""
