"""The record of a run: logs, samples, report, card, failure checks and pushes to the Hub."""
