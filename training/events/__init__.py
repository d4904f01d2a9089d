"""The event log of a service becomes sessions that training reads."""
